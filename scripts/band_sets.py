"""Make the two data sets of docs/channels.md from photographs.

    python scripts/band_sets.py datasets/quickstart/train.lmdb datasets/quickstart/val --out datasets

A source is a folder or an LMDB. For each source NAME, two folders are written:

- gray16/NAME: 16-bit PNG files with the luminance in linear light.
- bands4/NAME: TIFF files with four float32 bands, the reflectance in percent. The bands are red, green and blue in
  linear light, and a substitute for near infrared: 1.5 times green minus 0.5 times blue, clipped to [0, 100].
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from liif_basicsr.data.encode import encode_png, encode_tiff
from liif_basicsr.data.prepare.storing import atomic_folder, keys, open_any
from liif_basicsr.errors import run_script

# Luminance of linear sRGB (IEC 61966-2-1).
LUMINANCE = (0.2126, 0.7152, 0.0722)


def main() -> None:
    """Make both data sets from each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", help="photographs: folders or LMDBs")
    parser.add_argument("--out", type=Path, default=Path("datasets"),
                        help="parent folder of both sets (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    for source in args.sources:
        make(source, args.out)
        print(f"{args.out}/gray16/{source.stem} and {args.out}/bands4/{source.stem} are ready")


def make(source: Path, out: Path) -> None:
    """Write `out`/gray16/NAME and `out`/bands4/NAME from the photographs of `source`, whose stem is NAME."""
    photographs = open_any(source)
    names = keys(photographs.names)
    with atomic_folder(out / "gray16" / source.stem) as gray, atomic_folder(out / "bands4" / source.stem) as bands:
        for index, name in enumerate(names):
            linear = to_linear(photographs.read(index))
            (gray / f"{name}.png").write_bytes(encode_png(gray16(linear), 6))
            (bands / f"{name}.tif").write_bytes(encode_tiff(bands4(linear)))


def to_linear(image: np.ndarray) -> np.ndarray:
    """Decode sRGB: uint8 (H, W, 3) to float64 in [0, 1]."""
    unit = image / 255
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def gray16(linear: np.ndarray) -> np.ndarray:
    """Convert linear RGB (H, W, 3) in [0, 1] to luminance, uint16 (H, W, 1)."""
    return np.rint(linear @ np.array(LUMINANCE)[:, None] * 65535).astype(np.uint16)


def bands4(linear: np.ndarray) -> np.ndarray:
    """Convert linear RGB (H, W, 3) in [0, 1] to four bands of reflectance in percent, float32 (H, W, 4)."""
    infrared = 1.5 * linear[..., 1:2] - 0.5 * linear[..., 2:3]
    return (100 * np.concatenate([linear, infrared], axis=-1).clip(0, 1)).astype(np.float32)


if __name__ == "__main__":
    sys.exit(run_script("band_sets.py", main, "run it again"))
