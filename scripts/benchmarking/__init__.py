"""Parts of benchmark.py and tables.py."""
# Before BasicSR, so that it can be imported where the package is not installed and Python ran no start-up hook.
import liif_basicsr  # noqa: F401
