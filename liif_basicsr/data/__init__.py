"""Datasets, and the modules that read images, degrade them and draw training samples for them."""
from liif_basicsr.optional import import_basicsr

import_basicsr()
