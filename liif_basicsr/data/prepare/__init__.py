"""Data sets on disk, made from images: what scripts/prepare_data.py does."""
