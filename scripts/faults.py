"""Inject faults that must do no harm, such as kills, full disks and corrupt files, and print a table of outcomes.

    python scripts/faults.py            # 30 kills, 200 images, 50 checkpoints, 100 options files; some minutes
    python scripts/faults.py --short    # a short version, which the tests run

Each wrong outcome is printed in one line. The exit status is 1 if there was one.
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ["OMP_NUM_THREADS"] = "1"  # the tensors are tiny, and one thread keeps the order of sums fixed
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> int:
    from faultsuite.report import table
    from faultsuite.suite import PARTS, run_suite

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="inject fewer faults")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (default: all)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = run_suite(Path(folder), args.short, args.seed, args.only)
    print(table(parts))
    violations = [line for part in parts for line in part.violations]
    print(*violations, sep="\n", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
