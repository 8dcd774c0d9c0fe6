"""Datasets, the images they read and the samples they draw."""
from liif_basicsr.optional import import_basicsr

import_basicsr()
