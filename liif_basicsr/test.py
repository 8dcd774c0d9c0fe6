"""`python -m liif_basicsr.test -opt options.yml`: BasicSR's testing, see `liif_basicsr.training`."""
import sys

from liif_basicsr.training import main

if __name__ == "__main__":
    sys.exit(main(is_train=False))
