"""Options and types that several degradations share. Each degradation's module defines its own options."""
from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from liif_basicsr.config.base import Block, Checked, Probability, Text, number_range, probabilities

Kernel = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
KERNELS = get_args(Kernel)
# Side of the smallest blur kernel that is drawn, and of the largest one that options allow.
SMALLEST_KERNEL, LARGEST_KERNEL = 7, 51


def _kernel_size(value: Any) -> int:
    is_odd = isinstance(value, int) and not isinstance(value, bool) and value % 2 == 1
    if not is_odd or not SMALLEST_KERNEL <= value <= LARGEST_KERNEL:
        raise ValueError
    return value


KernelSize = Annotated[
    int,
    Checked(
        _kernel_size,
        f"an odd integer from {SMALLEST_KERNEL} to {LARGEST_KERNEL}",
        {"enum": list(range(SMALLEST_KERNEL, LARGEST_KERNEL + 1, 2))},
    ),
    Field(description="largest side of a blur kernel; kernels are square, with random odd sides from 7 to this value"),
]
KernelNames = Annotated[list[Kernel], Field(min_length=1, description="types of blur kernels")]
KernelProbabilities = Annotated[
    list[float], probabilities(), Field(description="relative frequency of each type of kernel")
]
SincProbability = Annotated[Probability, Field(description="probability that a sinc filter replaces the blur kernel")]
Sigma = Annotated[
    list[float],
    number_range(0.01, 100, strict=True),
    Field(description="standard deviation of a blur kernel, in pixels"),
]
GeneralizedShape = Annotated[
    list[float],
    number_range(0.01, 100, around=1),
    Field(description="shape parameter (beta) of the generalized Gaussian kernels"),
]
PlateauShape = Annotated[
    list[float],
    number_range(0.01, 100, around=1),
    Field(description="shape parameter (beta) of the plateau-shaped kernels"),
]
ResizeProbabilities = Annotated[
    list[float],
    probabilities(3),
    Field(description="relative frequencies of enlarging, shrinking, and keeping the size"),
]
ResizeRange = Annotated[
    list[float], number_range(0.01, 10, around=1), Field(description="range of the resizing factor")
]
GaussianProbability = Annotated[
    Probability, Field(description="probability that the noise is Gaussian; otherwise it is Poisson")
]
NoiseRange = Annotated[
    list[float],
    number_range(0, 255),
    Field(description="standard deviation of Gaussian noise, for pixels from 0 to 255"),
]
PoissonScale = Annotated[list[float], number_range(0, 100), Field(description="strength of Poisson noise")]
GrayProbability = Annotated[Probability, Field(description="probability that the noise is gray")]
JPEGQuality = Annotated[list[float], number_range(1, 100), Field(description="JPEG quality")]
DEFAULT_KERNEL_PROB = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]


class DegradationOptions(Block):
    """Options that every degradation has. Ranges are [lowest, highest]."""

    type: Text = Field(description="name of a degradation")
    clean_prob: Probability = Field(0.0, description="share of images that are only downsampled with Pillow's bicubic")
