"""The model class that BasicSR trains and validates."""
from liif_basicsr.utils.needs import import_basicsr

import_basicsr()
