"""Datasets, and the modules that they use to read images, degrade them, and draw training samples."""
from liif_basicsr.optional import import_basicsr

import_basicsr()
