"""The model classes that BasicSR trains and validates, one per file `*_model.py`."""
from liif_basicsr.optional import import_basicsr

import_basicsr()
