"""PSNR in dB from section 4 of the LIIF paper: RGB for DIV2K, luma for the benchmark sets.

Thera: the table on its authors' project page.
"""
from __future__ import annotations

_DIV2K_SCALES = ("2", "3", "4", "6", "12", "18", "24", "30")
_DIV2K = {
    "bicubic": (31.01, 28.22, 26.66, 24.82, 22.27, 21.00, 20.19, 19.59),
    "EDSR-baseline": (34.55, 30.90, 28.94),
    "EDSR-baseline-MetaSR": (34.64, 30.93, 28.92, 26.61, 23.55, 22.03, 21.06, 20.37),
    "EDSR-baseline-LIIF": (34.67, 30.96, 29.00, 26.75, 23.71, 22.17, 21.18, 20.48),
    "RDN-MetaSR": (35.00, 31.27, 29.25, 26.88, 23.73, 22.18, 21.17, 20.47),
    "RDN-LIIF": (34.99, 31.26, 29.27, 26.99, 23.89, 22.34, 21.31, 20.59),
    "EDSR-baseline-Thera-Air": (34.75, 31.09, 29.10, 26.84, 23.80, 22.26, 21.26, 20.56),
    "EDSR-baseline-Thera-Plus": (34.89, 31.22, 29.24, 26.96, 23.89, 22.34, 21.32, 20.61),
    "EDSR-baseline-Thera-Pro": (35.19, 31.50, 29.51, 27.19, 24.09, 22.51, 21.48, 20.73),
    "RDN-Thera-Air": (35.06, 31.42, 29.43, 27.13, 24.04, 22.48, 21.44, 20.71),
    "RDN-Thera-Plus": (35.00, 31.40, 29.44, 27.16, 24.06, 22.49, 21.45, 20.71),
    "RDN-Thera-Pro": (35.25, 31.56, 29.57, 27.25, 24.14, 22.56, 21.52, 20.77),
    "LIIF-c": (34.53, 30.92, 28.97, 26.73, 23.72, 22.19, 21.19, 20.51),
    "LIIF-u": (34.64, 30.94, 28.98, 26.73, 23.69, 22.16, 21.17, 20.47),
    "LIIF-e": (34.63, 30.95, 28.97, 26.72, 23.66, 22.13, 21.14, 20.45),
    "LIIF-d": (34.65, 30.94, 28.98, 26.71, 23.64, 22.10, 21.12, 20.42),
    "LIIF-x2": (34.71, 30.72, 28.77, 26.51, 23.54, 22.05, 21.09, 20.40),
    "LIIF-x3": (34.32, 30.98, 28.99, 26.71, 23.68, 22.15, 21.17, 20.48),
    "LIIF-x4": (34.08, 30.87, 29.00, 26.77, 23.74, 22.21, 21.21, 20.51),
}
_BENCHMARK_SCALES = ("2", "3", "4", "6", "8")
_RDN_LIIF = {
    "Set5": (38.17, 34.68, 32.50, 29.15, 27.14),
    "Set14": (33.97, 30.53, 28.80, 26.64, 25.15),
    "B100": (32.32, 29.26, 27.74, 25.98, 24.91),
    "Urban100": (32.87, 28.82, 26.68, 24.20, 22.79),
}

# Set -> network -> scale, as `scale_text` writes it -> PSNR.
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "DIV2K": {name: dict(zip(_DIV2K_SCALES, values, strict=False)) for name, values in _DIV2K.items()},
    **{name: {"RDN-LIIF": dict(zip(_BENCHMARK_SCALES, v, strict=True))} for name, v in _RDN_LIIF.items()},
}
