"""The paper's comparisons at small size: a short training of each variant, all else alike, and their table.

    python scripts/controlled_run.py

LIIF, its ablations, MetaSR, and LIIF trained at one scale only: same seed, same data, same iterations, the same
encoder, as `options/train_controlled.yml` says. It may be interrupted at any time and run again: what is trained
stays, and what was begun goes on.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from liif_basicsr.errors import LIIFError
from liif_basicsr.files import whole_file
from liif_basicsr.launch.options import read

ROOT = Path(__file__).parents[1]
OPTIONS = ROOT / "options" / "train_controlled.yml"
# Name -> what it changes; None takes an option away. Source: paper, table 3, and table 1 for MetaSR.
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
    """Options with changes, block by block."""
    result = dict(options)
    for key, value in changes.items():
        result[key] = changed(result[key], value) if isinstance(value, Mapping) else value
    return {key: value for key, value in result.items() if value is not None or key not in changes}


def train(variant: str, options: Mapping[str, Any]) -> Path:
    """Train a variant, or go on with it, or do nothing where it is trained; its checkpoint.

    Raises:
        LIIFError: what lies there was trained with other options, or the training fails.
    """
    own = {**changed(options, VARIANTS[variant]), "name": f"{options['name']}_{variant}"}
    folder, path = Path("experiments", own["name"]), Path("experiments", f"{own['name']}.yml")
    text = yaml.safe_dump(own, sort_keys=False)
    if folder.exists() and not (path.exists() and path.read_text() == text):
        raise LIIFError(f"{folder}: was not trained with these options; move it away to train it anew")
    trained = folder / "models" / "net_g_latest.pth"
    if not trained.exists():
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as file:
            file.write(text.encode())
        command = [sys.executable, "-m", "liif_basicsr.train", "-opt", str(path), "--auto_resume"]
        status = subprocess.run(command, check=False).returncode
        if status:
            raise LIIFError(f"the training of {variant} ended with status {status}")
    return trained


def main() -> int:
    """Train what is not trained yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", default=str(OPTIONS), help="what all have in common (default: %(default)s)")
    args = parser.parse_args()
    try:
        options = read(args.options)
        for variant in VARIANTS:
            train(variant, options)
    except LIIFError as error:
        print(f"controlled_run.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("controlled_run.py: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
