"""Whole images in bounded memory, whatever the network."""
