"""The model class that BasicSR trains and validates."""
from liif_basicsr.optional import import_basicsr

import_basicsr()
