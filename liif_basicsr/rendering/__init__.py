"""Rendering of whole and warped images in bounded memory, for every network."""
