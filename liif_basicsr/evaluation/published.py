"""Published PSNR in dB: on RGB for DIV2K, on luma for the benchmark sets.

Sources: section 4 of the LIIF paper; for LTE, SRNO and Thera, tables 1 and 2 of the Thera paper (arXiv 2311.17643),
which repeat the numbers of the other papers. Thera's results use a self-ensemble of flips and rotations.
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
    "EDSR-baseline-LTE": (34.72, 31.02, 29.04, 26.81, 23.78, 22.23, 21.24, 20.53),
    "RDN-LTE": (35.04, 31.32, 29.33, 27.04, 23.95, 22.40, 21.36, 20.64),
    "EDSR-baseline-SRNO": (34.85, 31.11, 29.16, 26.90, 23.84, 22.29, 21.27, 20.56),
    "RDN-SRNO": (35.16, 31.42, 29.42, 27.12, 24.03, 22.46, 21.41, 20.68),
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
_BENCHMARKS = {
    "Set5": {
        "RDN-LIIF": (38.17, 34.68, 32.50, 29.15, 27.14),
        "RDN-SRNO": (38.32, 34.84, 32.69),
        "RDN-Thera-Air": (38.18, 34.75, 32.60),
        "RDN-Thera-Plus": (38.11, 34.67, 32.56),
        "RDN-Thera-Pro": (38.36, 34.88, 32.79),
    },
    "Set14": {
        "RDN-LIIF": (33.97, 30.53, 28.80, 26.64, 25.15),
        "RDN-SRNO": (34.27, 30.71, 28.97),
        "RDN-Thera-Air": (34.13, 30.70, 28.95),
        "RDN-Thera-Plus": (34.20, 30.67, 28.97),
        "RDN-Thera-Pro": (34.43, 30.85, 29.08),
    },
    "B100": {
        "RDN-LIIF": (32.32, 29.26, 27.74, 25.98, 24.91),
        "RDN-SRNO": (32.43, 29.37, 27.83),
        "RDN-Thera-Air": (32.33, 29.29, 27.80),
        "RDN-Thera-Plus": (32.26, 29.28, 27.81),
        "RDN-Thera-Pro": (32.46, 29.39, 27.87),
    },
    "Urban100": {
        "RDN-LIIF": (32.87, 28.82, 26.68, 24.20, 22.79),
        "RDN-SRNO": (33.33, 29.14, 26.98),
        "RDN-Thera-Air": (33.16, 29.14, 26.91),
        "RDN-Thera-Plus": (33.14, 29.15, 26.97),
        "RDN-Thera-Pro": (33.63, 29.58, 27.26),
    },
}

# Set -> network -> scale (as `scale_text` writes it) -> PSNR.
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    name: {network: dict(zip(scales, values, strict=False)) for network, values in rows.items()}
    for name, rows, scales in (
        ("DIV2K", _DIV2K, _DIV2K_SCALES),
        *((name, rows, _BENCHMARK_SCALES) for name, rows in _BENCHMARKS.items()),
    )
}
