"""Parts of benchmark.py and tables.py."""
# This import must come before that of BasicSR. Without an installed package, no start-up hook prepares the latter.
import liif_basicsr  # noqa: F401
