"""Functions that make data sets on disk, for `python -m liif_basicsr prepare`."""
