"""An encoder made from any architecture in BasicSR's registry: it returns the features before the upsampler."""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.registry import register_encoder
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.optional import import_basicsr

# Name of an upsampler's first module -> size of the module's input relative to the image. RRDBNet doubles the size
# before conv_up1.
UPSAMPLERS = {"upsample": 1, "upconv1": 1, "conv_up1": 2, "upsampler": 1}

# (height, width) of a test image, which is encoded to find out the number of feature channels.
PROBE_SIZE = (16, 24)


class Tapped(Exception):
    """Exception that ends the architecture's forward pass and carries the features."""


class Tap(nn.Module):
    """Replaces a module and raises `Tapped` with the module's input."""

    def forward(self, features: Tensor, *rest: Any) -> None:
        raise Tapped(features)


@register_encoder
class BasicSRArch(nn.Module):
    """Uses an architecture in BasicSR's registry as an encoder: one of BasicSR's own, or one of another project.

    The architecture runs up to its upsampler; later modules are removed. It receives images in [0, 1], as in BasicSR,
    so pretrained weights see the range that they were trained on. For an architecture with windows (`window_size`),
    the input is padded to a multiple of the window size, and the features are cropped.

    Args:
        arch: `network_g` block of the architecture: its `type` and arguments.
        tap: name of the module whose input becomes the features: the first module of the upsampler. ~ looks for
            a module with one of the names that upsamplers usually have in BasicSR.
        receptive_radius: a feature depends on input pixels up to this distance, in pixels; images are then encoded in
            tiles that overlap accordingly. ~ assumes an unbounded receptive field.
        num_in_ch: number of channels of the input image.

    Raises:
        LIIFError: the architecture, an argument or the tap is unknown or does not fit; or `receptive_radius` is too
            small.
    """

    def __init__(
        self, arch: dict[str, Any], tap: str | None = None, receptive_radius: int | None = None, num_in_ch: int = 3
    ) -> None:
        super().__init__()
        self.num_in_ch = num_in_ch
        self.arch, self.multiple = build_arch(arch, num_in_ch=num_in_ch)
        self.where = f"network_g: encoder: arch {arch['type']}"
        self.tap = self._find_tap() if tap is None else tap
        self._insert_tap()
        self.out_channels = self._probe()
        self.receptive_radius = receptive_radius
        if receptive_radius is not None:
            self._check_radius(receptive_radius)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        try:
            self.arch(pad_to_multiple(self.arch_input(x), self.multiple))
        except Tapped as tapped:
            features = tapped.args[0]
        else:
            raise LIIFError(f"{self.where}: does not run module {self.tap!r}; set tap to its upsampler's first module")
        step = UPSAMPLERS.get(self.tap, 1)
        if features.dim() == 4:
            features = features[:, :, ::step, ::step]
        padded = tuple(-(-n // self.multiple) * self.multiple for n in (h, w))
        if features.dim() != 4 or features.shape[-2:] != padded:
            raise LIIFError(
                f"{self.where}: the input of tap {self.tap!r} has the shape {tuple(features.shape)} for an image of "
                f"size {padded}; tap a module whose input is (B, C, {padded[0]}, {padded[1]})"
            )
        return features[:, :, :h, :w]

    def arch_input(self, x: Tensor) -> Tensor:
        """Map the encoder's input from [-1, 1] to the range of the architecture's input."""
        return x * 0.5 + 0.5

    def _find_tap(self) -> str:
        children = dict(self.arch.named_children())
        found = [name for name in UPSAMPLERS if name in children]
        if not found:
            names = ", ".join(children)
            raise LIIFError(
                f"{self.where}: no module has an upsampler's usual name; "
                f"set tap to the upsampler's first module, one of: {names}"
            )
        return found[0]

    def _insert_tap(self) -> None:
        names = [name for name, _ in self.arch.named_modules() if name]
        if self.tap not in names:
            top = [name for name in names if "." not in name]
            raise LIIFError(f"{self.where}: has no module {self.tap!r}{suggest(self.tap, top)}")
        parent, _, name = self.tap.rpartition(".")
        setattr(self.arch.get_submodule(parent), name, Tap())

    def _probe(self) -> int:
        """Encode a small image, remove modules that do not affect the features, and return the number of channels."""
        self.arch.eval()  # batch normalization must not update its statistics
        try:
            with torch.enable_grad():
                features = self(torch.zeros(1, self.num_in_ch, *PROBE_SIZE))
        except LIIFError:
            raise
        except Exception as error:
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            raise LIIFError(f"{self.where}: fails on an image of size {PROBE_SIZE}: {cause}") from error
        self.arch.train()
        if not features.requires_grad:
            raise LIIFError(f"{self.where}: no module before tap {self.tap!r} has parameters; tap a later module")
        params = [param for param in self.arch.parameters() if param.requires_grad]
        grads = torch.autograd.grad(features.sum(), params, allow_unused=True)
        unused = {param for param, grad in zip(params, grads, strict=True) if grad is None}
        for param in unused:
            param.requires_grad_(False)
        drop_unused(self.arch, unused)
        return features.shape[1]

    @torch.no_grad()
    def _check_radius(self, radius: int) -> None:
        """Raise LIIFError if a NaN pixel at the distance `radius` + 1 from a feature makes the feature NaN."""
        if self.multiple > 1:
            raise LIIFError(
                f"{self.where}: the receptive field is unbounded, because the architecture has windows; "
                "leave receptive_radius out"
            )
        for shape in ((1, self.num_in_ch, 1, radius + 2), (1, self.num_in_ch, radius + 2, 1)):
            x = torch.zeros(shape)
            x[..., 0, 0] = torch.nan
            if self(x)[..., -1, -1].isnan().any():
                raise LIIFError(
                    f"{self.where}: receptive_radius: {radius} is too small; increase it, or leave it out if the "
                    "receptive field is unbounded"
                )


def build_arch(
    block: Mapping[str, Any], where: str = "network_g: encoder", num_in_ch: int | None = None
) -> tuple[nn.Module, int]:
    """Build an architecture of BasicSR's registry from its block.

    Args:
        block: `type` and arguments of the architecture.
        where: name of the outer block in messages.
        num_in_ch: number of input channels that the architecture must take; None allows any number.

    Returns:
        The architecture and its window size, which is 1 for an architecture without windows.

    Raises:
        LIIFError: the architecture is unknown, rejects the arguments, or takes another number of channels.
    """
    import_basicsr()  # fills the registry
    from basicsr.utils.registry import ARCH_REGISTRY

    if not isinstance(block, Mapping):
        raise LIIFError(f"{where}: arch: expected a block with a type and arguments, got {block!r}")
    kwargs = dict(block)
    name = str(kwargs.pop("type", None))
    try:
        cls = ARCH_REGISTRY.get(name)
    except KeyError:
        end = suggest(name, (known for known, _ in ARCH_REGISTRY))
        raise LIIFError(f"{where}: arch: type: unknown architecture {name!r}{end}") from None
    try:
        bound = inspect.signature(cls).bind(**kwargs)
        bound.apply_defaults()
        arch = cls(**kwargs)
    except (TypeError, ValueError, AssertionError) as error:
        raise LIIFError(f"{where}: arch {name}: {error}; see the arguments of {name} in BasicSR") from error
    own = bound.arguments.get("num_in_ch", num_in_ch)
    if num_in_ch is not None and own != num_in_ch:
        needed = f"is {own}, but network_g takes {num_in_ch} channels; set both num_in_ch to the same number"
        raise LIIFError(f"{where}: arch {name}: num_in_ch: {needed}")
    return arch, bound.arguments.get("window_size", 1)


def drop_unused(module: nn.Module, unused: set[nn.Parameter]) -> None:
    """Replace submodules by `Identity` if all their parameters are unused.

    DDP requires a gradient for each parameter.
    """
    for name, child in module.named_children():
        params = set(child.parameters())
        if params and params <= unused:
            setattr(module, name, nn.Identity())
        else:
            drop_unused(child, unused)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad images (B, C, h, w) at the bottom and right, so that h and w become multiples of `multiple`.

    Images are padded by reflection, or by replication if they are too small for reflection.
    """
    for axis in (3, 2):
        size = x.shape[axis]
        extra = -size % multiple
        if extra:
            pad = (0, extra, 0, 0) if axis == 3 else (0, 0, 0, extra)
            x = F.pad(x, pad, mode="reflect" if extra < size else "replicate")
    return x
