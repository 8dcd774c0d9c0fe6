"""Parts of benchmark.py and tables.py."""
# Import this before BasicSR: if this package is not installed, no start-up hook prepares the import of BasicSR.
import liif_basicsr  # noqa: F401
