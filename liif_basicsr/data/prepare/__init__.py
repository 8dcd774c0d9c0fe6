"""Data sets on disk, made from pictures: what scripts/prepare_data.py does."""
