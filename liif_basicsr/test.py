"""`python -m liif_basicsr.test -opt options.yml` runs BasicSR's test pipeline, see `liif_basicsr.launch`."""
import sys

from liif_basicsr.launch import main

if __name__ == "__main__":
    sys.exit(main(is_train=False))
