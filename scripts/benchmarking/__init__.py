"""Parts of benchmark.py and tables.py."""
# Must come before BasicSR. If the package is not installed, no start-up hook has prepared the import of BasicSR.
import liif_basicsr  # noqa: F401
