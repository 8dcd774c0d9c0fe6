"""Repeat the paper's comparisons with short trainings that differ in one setting, and print their table.

    python scripts/controlled_run.py

The variants are LIIF, its ablations, MetaSR, and LIIF trained at one scale only. All use the seed, data, iterations and
encoder of `options/train_controlled.yml`. An interrupted run continues with the first unfinished training.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.evaluation.output import check_output
from liif_basicsr.files import write
from liif_basicsr.launch.options import read

ROOT = Path(__file__).parents[1]
OPTIONS = ROOT / "options" / "train_controlled.yml"
# Name -> changed options; None removes an option. Source: paper, section 4.
VARIANTS: dict[str, dict[str, Any]] = {
    "LIIF": {},
    "MetaSR": {"network_g": {"type": "MetaSR", "hidden_dims": None}},
    "LIIF-x2": {"datasets": {"train": {"scale_range": [2, 2]}}},
    "LIIF-x3": {"datasets": {"train": {"scale_range": [3, 3]}}},
    "LIIF-x4": {"datasets": {"train": {"scale_range": [4, 4]}}},
    "LIIF-c": {"network_g": {"cell_decode": False}},
    "LIIF-u": {"network_g": {"feat_unfold": False}},
    "LIIF-e": {"network_g": {"local_ensemble": False}},
    "LIIF-d": {"network_g": {"hidden_dims": [64, 64]}},
}


def changed(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with `changes` merged in, block by block; None removes an option."""
    result = dict(options)
    for key, value in changes.items():
        result[key] = changed(result[key], value) if isinstance(value, Mapping) else value
    return {key: value for key, value in result.items() if value is not None or key not in changes}


def train(variant: str, options: Mapping[str, Any]) -> Path:
    """Train or resume a variant, unless it is finished, and return its checkpoint.

    Raises:
        LIIFError: the folder was trained with other options, or the training fails.
    """
    own = {**changed(options, VARIANTS[variant]), "name": f"{options['name']}_{variant}"}
    folder, path = Path("experiments", own["name"]), Path("experiments", f"{own['name']}.yml")
    text = yaml.safe_dump(own, sort_keys=False)
    if folder.exists() and not (path.exists() and path.read_text(encoding="utf-8") == text):
        raise LIIFError(f"{folder}: was trained with other options; move it to train again")
    trained = folder / "models" / "net_g_latest.pth"
    if not trained.exists():
        check_output(path, [".yml"])
        write(path, text.encode())
        command = [sys.executable, "-m", "liif_basicsr.train", "-opt", str(path), "--auto_resume"]
        status = subprocess.run(command, check=False).returncode
        if status:
            raise LIIFError(f"{variant}: the training ended with status {status}; see its output above")
    return trained


def tabulate(trained: Mapping[str, Path], args: argparse.Namespace) -> int:
    """Print the table of all variants with tables.py, and return its exit status."""
    networks = ["bicubic", *(f"{variant}={path}" for variant, path in trained.items())]
    command = [sys.executable, str(ROOT / "scripts" / "tables.py"), *networks, "--sets", *args.sets]
    command += ["--data", args.data, "--scales", *args.scales, "--metrics", "psnr", "--out", args.out]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Train the missing variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", default=str(OPTIONS), help="the common options (default: %(default)s)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--sets", nargs="+", default=["Set5", "Set14"], help="as in tables.py (default: Set5 Set14)")
    parser.add_argument("--data", default="datasets", help="folder of the sets (default: %(default)s)")
    parser.add_argument("--scales", nargs="+", default=["2", "3", "4", "6", "8", "12"], help="as in tables.py")
    parser.add_argument("--out", default="results/controlled.md", help="the table (default: %(default)s)")
    args = parser.parse_args()

    def work() -> int:
        options = read(args.options)
        return tabulate({variant: train(variant, options) for variant in args.variants}, args)

    return run_script("controlled_run.py", work, "run it again to continue")


if __name__ == "__main__":
    sys.exit(main())
