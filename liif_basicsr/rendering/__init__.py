"""Rendering of images and warps in bounded memory, for every network."""
