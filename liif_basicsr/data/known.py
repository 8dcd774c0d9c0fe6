"""How to get the usual data sets: the end of a message about one that is missing."""
from __future__ import annotations

DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
GET_DIV2K = f"unpack {DIV2K}/DIV2K_train_HR.zip in datasets/DIV2K, then run: python scripts/prepare_data.py div2k"
GET_DIV2K_PIXELS = GET_DIV2K + " --pixels"
GET_DIV2K_LR = (
    f"unpack {DIV2K}/DIV2K_train_LR_bicubic_X2.zip (X3, X4) in datasets/DIV2K, then run: "
    "python scripts/prepare_data.py folder datasets/DIV2K/DIV2K_train_LR_bicubic/X2 "
    "datasets/DIV2K/DIV2K_train_LR_bicubic_X2 --pixels"
)
GET_DIV2K_VALID = f"unpack DIV2K_valid_HR.zip and DIV2K_valid_LR_bicubic_X2.zip (X3, X4) of {DIV2K} in datasets/DIV2K"
GET_BENCHMARK = (
    "unpack https://cv.snu.ac.kr/research/EDSR/benchmark.tar in datasets, "
    "then run: python scripts/prepare_data.py benchmark"
)
GET_CELEBA_HQ = (
    "unpack data1024x1024.zip of https://github.com/suvojit-0x55aa/celebA-HQ-dataset-download in datasets, "
    "then run: python scripts/prepare_data.py celeba_hq"
)
GET_KODAK = "put the 24 PNG files of https://r0k.us/graphics/kodak there"
GET_QUICKSTART = "run: python scripts/prepare_data.py quickstart"
GET_OTHER = "python scripts/prepare_data.py makes a data set from a folder of images, see its --help"

HOW = {
    "DIV2K_valid": GET_DIV2K_VALID,
    "DIV2K_train_LR": GET_DIV2K_LR,
    "DIV2K_train_HR.pixels": GET_DIV2K_PIXELS,
    "DIV2K": GET_DIV2K,
    **dict.fromkeys(("Set5", "Set14", "B100", "Urban100"), GET_BENCHMARK),
    "Kodak24": GET_KODAK,
    "CelebA-HQ": GET_CELEBA_HQ,
    "quickstart": GET_QUICKSTART,
}


def how_to_get(path: str) -> str:
    """What to do about a missing data set, judged by its path."""
    return next((how for name, how in HOW.items() if name in path), GET_OTHER)
