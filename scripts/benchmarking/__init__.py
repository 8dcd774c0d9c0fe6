"""Parts of benchmark.py and tables.py."""
# This import must come before that of BasicSR, because no start-up hook prepares the import of BasicSR if this package
# is not installed.
import liif_basicsr  # noqa: F401
