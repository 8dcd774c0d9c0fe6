"""The datasets: where images come from, and which samples are drawn from them."""
from liif_basicsr.optional import import_basicsr

import_basicsr()
