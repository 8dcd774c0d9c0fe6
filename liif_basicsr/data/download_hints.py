"""Hints on where to get the usual data sets, for messages about missing files."""
from __future__ import annotations

from pathlib import Path

PREPARE = "python -m liif_basicsr prepare"
DIV2K_SITE = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
UNPACK_DIV2K = f"unpack {DIV2K_SITE}/DIV2K_train_HR.zip in datasets/DIV2K"
DIV2K = f"{UNPACK_DIV2K}, then run `{PREPARE} div2k`"
DIV2K_LR = (
    f"unpack {DIV2K_SITE}/DIV2K_train_LR_bicubic_X2.zip (or X3, X4) in datasets/DIV2K, then run "
    f"`{PREPARE} folder datasets/DIV2K/DIV2K_train_LR_bicubic/X2 datasets/DIV2K/DIV2K_train_LR_bicubic_X2 --pixels`"
)
DIV2K_VALID = (
    f"download DIV2K_valid_HR.zip and DIV2K_valid_LR_bicubic_X2.zip (or X3, X4) from {DIV2K_SITE}, and unpack them in "
    "datasets/DIV2K"
)
BENCHMARK = f"unpack https://cv.snu.ac.kr/research/EDSR/benchmark.tar in datasets, then run `{PREPARE} benchmark`"
CELEBA_HQ = (
    "download data1024x1024.zip from https://github.com/suvojit-0x55aa/celebA-HQ-dataset-download, unpack it in "
    f"datasets, then run `{PREPARE} celeba_hq`"
)
KODAK = "put the 24 PNG files from https://r0k.us/graphics/kodak in this folder"
QUICKSTART = f"run `{PREPARE} quickstart`"
OTHER = f"make a data set from a folder of images with `{PREPARE} folder`"

# Maps a part of a path to its hint. The first match counts.
HINTS = {
    "DIV2K_valid": DIV2K_VALID,
    "DIV2K_train_LR": DIV2K_LR,
    "DIV2K_train_HR.pixels": f"{UNPACK_DIV2K}, then run `{PREPARE} div2k --pixels`",
    "DIV2K": DIV2K,
    **dict.fromkeys(("Set5", "Set14", "B100", "Urban100"), BENCHMARK),
    "Kodak24": KODAK,
    "CelebA-HQ": CELEBA_HQ,
    "quickstart": QUICKSTART,
}


def no_folder(path: str | Path, hint: str) -> str:
    """Return the message about a path that is not a folder."""
    return f"{path} {'is a file, not a folder' if Path(path).exists() else 'does not exist'}; {hint}"


def download_hint(path: str, otherwise: str = OTHER) -> str:
    """Return a hint on how to get or make the data set expected at a missing path; `otherwise` if it is not known."""
    return next((hint for part, hint in HINTS.items() if part in path), otherwise)
