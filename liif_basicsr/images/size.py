"""Check and parse output sizes, band numbers and the strength of a model.

This module imports neither NumPy nor PyTorch, so that the command line reports typos at once.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from numbers import Integral
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex, TypeAlias

from liif_basicsr.config.scales import LARGEST_SCALE, scale_pair, scale_text
from liif_basicsr.errors import LIIFError

Size = tuple[int, int]
# Types of arguments. They include numbers and arrays of NumPy and torch.
AnyScale: TypeAlias = SupportsFloat | Iterable[SupportsFloat]
AnySize: TypeAlias = Iterable[SupportsIndex]
DEFAULT_SCALE = 2


class OutputSize(NamedTuple):
    """The requested output size: a scale; a height, a width or both; or the length of the longer edge.

    scale: (along y, along x).
    """

    scale: tuple[float, float] | None = None
    height: int | None = None
    width: int | None = None
    long_edge: int | None = None

    @classmethod
    def of(cls, scale: Any = None, size: Any = None) -> OutputSize:
        """Check the arguments of `upscale`: a scale or pair of scales, or a size (H, W). The default is a scale of 2.

        Raises:
            LIIFError: both are passed, or a value is invalid.
        """
        if scale is not None and size is not None:
            raise LIIFError("scale and size: pass only one of them")
        if size is None:
            return cls(check_scale(DEFAULT_SCALE if scale is None else scale))
        try:
            height, width = _plain(size)
        except (TypeError, ValueError):
            raise LIIFError(f"size {size!r}: expected (H, W), two integers of at least 1") from None
        for length in (height, width):
            if not isinstance(length, Integral) or isinstance(length, bool) or length < 1:
                raise LIIFError(f"size: expected integers of at least 1, got {length!r}")
        return cls(height=int(height), width=int(width))

    @classmethod
    def parse(
        cls,
        scale: str | None = None,
        size: str | None = None,
        width: str | None = None,
        height: str | None = None,
        long_edge: str | None = None,
    ) -> OutputSize:
        """Parse the command line's options for the size.

        Args:
            scale: such as `2`, `x2`, `2x`, or `2x3.5` (along y, along x).
            size: `WxH`.
            width, height, long_edge: a number of pixels.

        Raises:
            LIIFError: the options exclude each other, or a value is invalid.
        """
        options = {"--size": size, "--width": width, "--height": height, "--scale": scale, "--long-edge": long_edge}
        given = [option for option, text in options.items() if text is not None]
        if len(given) > 1 and given != ["--width", "--height"]:
            raise LIIFError(f"{' and '.join(given)}: use only one; --width and --height may be combined")
        if size is not None:
            both = re.fullmatch(r"0*([1-9]\d{0,8}) ?[xX×] ?0*([1-9]\d{0,8})", size.strip(), re.ASCII)
            if both is None:
                raise LIIFError(f"--size {size}: expected WxH in pixels, such as 1920x1080")
            return cls(height=int(both[2]), width=int(both[1]))
        if not given:
            return cls(check_scale(DEFAULT_SCALE))
        return cls(
            None if scale is None else parse_scale(scale),
            _parse_length("--height", height),
            _parse_length("--width", width),
            _parse_length("--long-edge", long_edge),
        )

    @property
    def label(self) -> str:
        """The size as part of a file name: `x2`, `x2x3.5`, `1920x1080`, `w1920`, `h1080`, or `1600` (longer edge)."""
        if self.scale:
            return f"x{scale_text(self.scale)}"
        if self.long_edge:
            return str(self.long_edge)
        if self.width and self.height:
            return f"{self.width}x{self.height}"
        return f"w{self.width}" if self.width else f"h{self.height}"

    def size_of(self, in_size: Size) -> Size:
        """Return (H, W) of the output for an input of `in_size` (h, w).

        Raises:
            LIIFError: the output would be smaller than the input.
        """
        h, w = in_size
        if self.scale:
            size = round(h * self.scale[0]), round(w * self.scale[1])
        else:
            height, width = self.height, self.width
            if self.long_edge and h >= w:
                height = self.long_edge
            elif self.long_edge:
                width = self.long_edge
            size = height or round(h * (width or 0) / w), width or round(w * (height or 0) / h)
        size = max(1, size[0]), max(1, size[1])
        if size[0] < h or size[1] < w:
            kind = LargerInput if self.long_edge else LIIFError
            raise kind(f"the output of {show_size(size)} pixels would be smaller than the image of "
                       f"{show_size(in_size)}; choose a larger size")  # fmt: skip
        return size


class LargerInput(LIIFError):
    """The image's longer edge is already longer than requested."""


def check_scale(scale: Any) -> tuple[float, float]:
    """Check a scale, or a pair of scales (along y, along x), and return a pair. NumPy and torch types are accepted.

    Raises:
        LIIFError: the scale is invalid, see `scale_pair`.
    """
    try:
        y, x = scale_pair(_plain(scale))
    except ValueError as error:
        raise LIIFError(f"scale {scale!r}: {error}") from None
    return float(y), float(x)


def parse_scale(text: str) -> tuple[float, float]:
    """Parse a scale of the command line: `2`, `x2`, `2x`, or `2x3.5` along y and x.

    Raises:
        LIIFError: the text is neither a number above 0 and below LARGEST_SCALE, nor two with an x between them.
    """
    found = re.fullmatch("([^xX×]*)[xX×]?([^xX×]*)", text)
    y, x = found.groups() if found else ("", "")
    try:
        return check_scale((float(y or x), float(x or y)))
    except ValueError:
        raise LIIFError(f"--scale {text}: expected a number above 0 and below {LARGEST_SCALE}, such as 3.5, or two "
                        "numbers (along y, along x) with an x between them, such as 2x3.5") from None  # fmt: skip


def parse_bands(text: str | None) -> tuple[int, ...]:
    """Parse `--bands`, band numbers counted from 1 and separated by commas. Return indices, counted from 0.

    Raises:
        LIIFError: the text has another form, or a number occurs twice.
    """
    words = text.split(",") if text else []
    if not all(word.isdecimal() and int(word) for word in words) or len({*words}) < len(words):
        raise LIIFError(f"--bands {text}: expected distinct numbers, counted from 1 and separated by commas, such as "
                        "1,2,3")  # fmt: skip
    return tuple(int(word) - 1 for word in words)


def check_strength(strength: Any) -> float:
    """Return the strength of a model as a float.

    Raises:
        LIIFError: it is not a number from 0 to 1.
    """
    number = _plain(strength)
    if not (isinstance(number, (int, float)) and 0 <= number <= 1):
        raise LIIFError(f"strength: expected a number from 0 to 1, got {strength!r}")
    return float(number)


def is_transposed(size: Size, in_size: Size) -> bool:
    """Return whether a size has the aspect ratio of the transposed image, but not of the image itself."""
    (height, width), (h, w) = size, in_size
    return abs(height - width * w / h) < 1 <= abs(height - width * h / w)


def changes_aspect(size: Size, in_size: Size) -> bool:
    """Return whether a size changes the image's aspect ratio by more than rounding does."""
    (height, width), (h, w) = size, in_size
    return abs(height - width * h / w) >= 1 and abs(width - height * w / h) >= 1


def show_size(size: Size) -> str:
    """Format (H, W) as WxH, the order of the command line and of image programs."""
    return f"{size[1]}x{size[0]}"


def _plain(value: Any) -> Any:
    """Convert NumPy and torch values, alone or in a list or tuple, to plain Python numbers and lists."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _parse_length(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise LIIFError(f"{option} {text}: expected a number of pixels of at least 1")
    return int(text)
