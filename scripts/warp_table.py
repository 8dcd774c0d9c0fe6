"""Print a table of the PSNR and SSIM of images warped by networks, and by cv2 with bicubic and Lanczos interpolation.

    python scripts/warp_table.py liif-fast edsr-baseline-liif --sets Kodak24=val/Kodak24 Set14=Set14/GT_x2 --out t.md

Two tasks are measured on every image:

- rotated x2: the image is downsampled by 2 (Pillow, bicubic), then rotated by a random angle and upscaled by 2 in one
  step. For the ground truth, cv2 rotates the full-size image and enlarges it by four with Lanczos interpolation. Then
  Pillow's Lanczos filter downsamples the result by four.
- there and back: the center of the image is rotated by 30 degrees and back, at x1. The ground truth is the image.

PSNR and SSIM are computed on the luma (weights 65.738, 129.057, 25.064 over 256) of 8-bit outputs, and averaged over a
set. The outermost 8 pixels of the image are ignored.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity
from tqdm import tqdm

from liif_basicsr.devices import PRECISIONS
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.files import check_output, write
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import read
from liif_basicsr.images.warp import Warper
from liif_basicsr.metrics.psnr_liif import LUMA
from liif_basicsr.rendering.homographies import rotation, scaling
from liif_basicsr.rendering.warps import Homography

BORDER = 8
FINER = 4  # oversampling of the ground truth
CV2 = {"cv2 bicubic": cv2.INTER_CUBIC, "cv2 Lanczos": cv2.INTER_LANCZOS4}
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

Size = tuple[int, int]
Warping = Callable[[np.ndarray, np.ndarray, Size], np.ndarray]


class Scores(NamedTuple):
    """PSNR in dB and SSIM."""

    psnr: float
    ssim: float


def scores(output: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> Scores:
    """Return the scores of pixels (H, W, 3) in [0, 255], where the mask `seen` (H, W) is true."""
    a, b = output.astype(np.float64) @ LUMA, truth.astype(np.float64) @ LUMA
    error = np.mean((a - b)[seen] ** 2)
    _, similar = structural_similarity(
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return Scores(10 * np.log10(255**2 / error), float(similar[seen].mean()))


def interpolated(flag: int) -> Warping:
    """Return a function that warps with cv2. `flag` selects the interpolation, such as cv2.INTER_CUBIC."""
    return lambda pixels, matrix, size: cv2.warpPerspective(pixels, matrix, size[::-1], flags=flag)


def by_network(model: str, precision: str) -> Warping:
    """Return a function that warps with a network."""
    warper = Warper(model, precision=precision)
    return lambda pixels, matrix, size: warper.whole(LoadedImage(pixels), Homography(matrix, size), 0)


def rotated_truth(pixels: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """Warp a full-size image with antialiasing, and return it as float (H, W, 3)."""
    fine = cv2.warpPerspective(
        pixels.astype(np.float32), scaling((FINER, FINER)) @ matrix, (FINER * size[1], FINER * size[0]),
        flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    planes = (Image.fromarray(fine[..., c]).resize(size[::-1], Image.Resampling.LANCZOS) for c in range(3))
    return np.stack([np.asarray(plane) for plane in planes], -1)


def rotated_x2(pixels: np.ndarray, warpings: dict[str, Warping], degrees: float) -> dict[str, Scores]:
    """Score an image that is downsampled by 2, then rotated and upscaled by 2 in one step."""
    h, w = (n // 2 * 2 for n in pixels.shape[:2])
    pixels = np.ascontiguousarray(pixels[:h, :w])
    low = np.asarray(Image.fromarray(pixels).resize((w // 2, h // 2), Image.Resampling.BICUBIC))
    matrix, size = rotation((h // 2, w // 2), degrees, scale=(2, 2))
    full = matrix @ np.linalg.inv(scaling((2, 2)))
    inner = np.pad(np.full((h - 2 * BORDER, w - 2 * BORDER), 255, np.uint8), BORDER)
    seen = cv2.warpPerspective(inner, full, size[::-1]) == 255
    truth = rotated_truth(pixels, full, size)
    return {label: scores(warping(low, matrix, size), truth, seen) for label, warping in warpings.items()}


def there_and_back(pixels: np.ndarray, warpings: dict[str, Warping], edge: int) -> dict[str, Scores]:
    """Score the center of an image (`edge` pixels square), rotated by 30 degrees and back."""
    top, left = (max(0, n - edge) // 2 for n in pixels.shape[:2])
    pixels = np.ascontiguousarray(pixels[top : top + edge, left : left + edge])
    own = (pixels.shape[0], pixels.shape[1])
    matrix, size = rotation(own, 30)
    seen = np.pad(np.ones((own[0] - 2 * BORDER, own[1] - 2 * BORDER), bool), BORDER)
    back = np.linalg.inv(matrix)
    return {
        label: scores(warping(warping(pixels, matrix, size), back, own), pixels, seen)
        for label, warping in warpings.items()
    }


def measure(folder: Path, warpings: dict[str, Warping], args: argparse.Namespace) -> dict[str, dict[str, Scores]]:
    """Return the means over a folder's images, by task and method."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS) if folder.is_dir() else []
    if not files:
        raise LIIFError(f"{folder}: no images found; expected {' '.join(sorted(ENDINGS))}")
    angles = np.random.default_rng(args.seed).uniform(-180, 180, len(files))
    found: dict[str, list[dict[str, Scores]]] = {"rotated x2": [], "there and back": []}
    for path, degrees in zip(tqdm(files[: args.images], desc=folder.name, disable=None), angles, strict=False):
        pixels = read(path).pixels
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1].repeat(3, axis=2)
        if pixels.dtype != np.uint8 or min(pixels.shape[:2]) < 8 * BORDER:
            raise LIIFError(f"{path}: expected 8-bit pixels and edges of at least {8 * BORDER}; remove the image")
        found["rotated x2"].append(rotated_x2(pixels, warpings, degrees))
        found["there and back"].append(there_and_back(pixels, warpings, args.edge))
    return {
        task: {label: Scores(*np.mean([one[label] for one in each], axis=0)) for label in warpings}
        for task, each in found.items()
    }


def table(results: dict[str, dict[str, dict[str, Scores]]], labels: list[str]) -> str:
    """Return a Markdown table with one row per set and task."""
    lines = ["| set | task | " + " | ".join(labels) + " |", "|" + "---|" * (2 + len(labels))]
    for name, tasks in results.items():
        for task, values in tasks.items():
            cells = [f"{values[label].psnr:.2f} / {values[label].ssim:.4f}" for label in labels]
            lines.append(f"| {name} | {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and write it."""
    if args.out:
        check_output(args.out, {".md": None})
    sets = dict(text.split("=", 1) if "=" in text else (Path(text).name, text) for text in args.sets)
    warpings = {model: by_network(model, args.precision) for model in args.models}
    warpings |= {label: interpolated(flag) for label, flag in CV2.items()}
    text = table({name: measure(Path(folder), warpings, args) for name, folder in sets.items()}, list(warpings))
    print(text, end="")
    if args.out:
        write(args.out, text.encode())


def main() -> int:
    """Parse the command line and print the table; bad input is reported in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NETWORK", help="known names or .pth files")
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=FOLDER", help="full-size images")
    parser.add_argument("--images", type=int, metavar="N", help="only the first N of each folder")
    parser.add_argument("--edge", type=int, default=256,
                        help="side of the square for `there and back`, in pixels (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the angles (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="also write a .md file")
    args = parser.parse_args()
    return run_script("warp_table.py", lambda: run(args), "run it again")


if __name__ == "__main__":
    sys.exit(main())
