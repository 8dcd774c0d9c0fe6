"""Make data sets on disk: the work of `python -m liif_basicsr prepare`."""
