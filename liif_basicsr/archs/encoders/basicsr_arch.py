"""Any architecture of BasicSR's registry as an encoder: its features are tapped before its upsampler."""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.config.options import suggest
from liif_basicsr.errors import LIIFError
from liif_basicsr.optional import import_basicsr

# How the first module of an upsampler is called, and how much larger than the features its input already is
# (RRDBNet's first enlarges by repeating pixels, then convolves).
UPSAMPLERS = {"upsample": 1, "upconv1": 1, "conv_up1": 2, "upsampler": 1}

PROBE_SIZE = (16, 24)


class Tapped(Exception):
    """Carries the features out of the architecture's forward pass."""


class Tap(nn.Module):
    """Stands where the upsampler was, and ends the forward pass with what comes in."""

    def forward(self, features: Tensor, *rest: Any) -> None:
        raise Tapped(features)


class BasicSRArch(nn.Module):
    """An encoder from an architecture that BasicSR knows, its own or another project's.

    The architecture runs up to its upsampler; what comes after is neither computed nor kept. It is given RGB in
    [0, 1], as in BasicSR, where it subtracts its own mean: so its pretrained weights see what they were trained
    on. One with windows (`window_size`) gets its input padded to whole ones, and the features cropped.

    Args:
        arch: its `network_g` block, `type` and arguments.
        tap: name of the module whose input is taken, the first of the upsampler; None to find it by its usual
            names, those of `UPSAMPLERS`.
        receptive_radius: see `liif_basicsr.archs.encoders`. None encodes an image as a whole, whatever its size.

    Raises:
        LIIFError: an architecture, argument or tap that does not exist or fit; a receptive_radius too small.
    """

    def __init__(self, arch: dict[str, Any], tap: str | None = None, receptive_radius: int | None = None) -> None:
        super().__init__()
        self.arch, self.multiple = build_arch(arch)
        self.where = f"encoder BasicSRArch: arch {arch['type']}"
        self.tap = self._find_tap() if tap is None else tap
        self._insert_tap()
        self.out_channels = self._probe()
        self.receptive_radius = receptive_radius
        if receptive_radius is not None:
            self._check_radius(receptive_radius)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        try:
            self.arch(pad_to_multiple(x * 0.5 + 0.5, self.multiple))
        except Tapped as tapped:
            features = tapped.args[0]
        else:
            raise LIIFError(f"{self.where} does not use module {self.tap!r}; tap the first one of its upsampler")
        step = UPSAMPLERS.get(self.tap, 1)
        if features.dim() == 4:
            features = features[:, :, ::step, ::step]
        padded = tuple(-(-n // self.multiple) * self.multiple for n in (h, w))
        if features.dim() != 4 or features.shape[-2:] != padded:
            raise LIIFError(
                f"{self.where}: tap {self.tap!r} makes {tuple(features.shape)} of an input of {padded}; "
                "tap where the features are (B, C, h, w) and keep h x w"
            )
        return features[:, :, :h, :w]

    def _find_tap(self) -> str:
        children = dict(self.arch.named_children())
        found = [name for name in UPSAMPLERS if name in children]
        if not found:
            names = ", ".join(children)
            raise LIIFError(f"{self.where} has no upsampler of a usual name; set `tap` to one of: {names}")
        return found[0]

    def _insert_tap(self) -> None:
        names = [name for name, _ in self.arch.named_modules() if name]
        if self.tap not in names:
            top = [name for name in names if "." not in name]
            raise LIIFError(f"{self.where} has no module {self.tap!r} to tap{suggest(self.tap, top)}")
        parent, _, name = self.tap.rpartition(".")
        setattr(self.arch.get_submodule(parent), name, Tap())

    def _probe(self) -> int:
        """Run a small image, drop what does not lead to the features, and return their channels."""
        self.arch.eval()  # batch normalisation is not to learn from this
        try:
            with torch.enable_grad():
                features = self(torch.zeros(1, 3, *PROBE_SIZE))
        except LIIFError:
            raise
        except Exception as error:
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            raise LIIFError(f"{self.where} fails on an image of {PROBE_SIZE}: {cause}") from error
        self.arch.train()
        if not features.requires_grad:
            raise LIIFError(f"{self.where}: nothing comes before tap {self.tap!r}; tap a later module")
        params = [param for param in self.arch.parameters() if param.requires_grad]
        grads = torch.autograd.grad(features.sum(), params, allow_unused=True)
        unused = {param for param, grad in zip(params, grads, strict=True) if grad is None}
        for param in unused:
            param.requires_grad_(False)
        drop_unused(self.arch, unused)
        return features.shape[1]

    @torch.no_grad()
    def _check_radius(self, radius: int) -> None:
        """A pixel that is not a number spoils all features that it reaches, and no others."""
        if self.multiple > 1:
            raise LIIFError(f"{self.where} has windows, so no receptive_radius; leave it out")
        for shape in ((1, 3, 1, radius + 2), (1, 3, radius + 2, 1)):
            x = torch.zeros(shape)
            x[..., 0, 0] = torch.nan
            if self(x)[..., -1, -1].isnan().any():
                raise LIIFError(f"{self.where}: receptive_radius {radius} is too small, pixels further away matter")


def build_arch(block: Mapping[str, Any], where: str = "encoder BasicSRArch") -> tuple[nn.Module, int]:
    """Make an architecture from its block, and find what the sides of its input must be a multiple of.

    Raises:
        LIIFError: it does not exist, or does not take these arguments; `where` goes before it.
    """
    import_basicsr()  # fills the registry
    from basicsr.utils.registry import ARCH_REGISTRY

    if not isinstance(block, Mapping):
        raise LIIFError(f"{where}: arch must be a block, its type and arguments, not {block!r}")
    kwargs = dict(block)
    name = str(kwargs.pop("type", None))
    try:
        cls = ARCH_REGISTRY.get(name)
    except KeyError:
        end = suggest(name, (known for known, _ in ARCH_REGISTRY))
        raise LIIFError(f"{where}: arch type {name!r} does not exist{end}") from None
    try:
        bound = inspect.signature(cls).bind(**kwargs)
        bound.apply_defaults()
        return cls(**kwargs), bound.arguments.get("window_size", 1)
    except (TypeError, ValueError, AssertionError) as error:
        raise LIIFError(f"{where}: arch {name}: {error}; see its arguments in BasicSR") from error


def drop_unused(module: nn.Module, unused: set[nn.Parameter]) -> None:
    """Replace the submodules that have nothing but unused parameters: DDP wants a gradient for every one."""
    for name, child in module.named_children():
        params = set(child.parameters())
        if params and params <= unused:
            setattr(module, name, nn.Identity())
        else:
            drop_unused(child, unused)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Enlarge (B, C, h, w) at the bottom and the right: mirrored, or, where that is too small, repeated."""
    for axis in (3, 2):
        size = x.shape[axis]
        extra = -size % multiple
        if extra:
            pad = (0, extra, 0, 0) if axis == 3 else (0, 0, 0, extra)
            x = F.pad(x, pad, mode="reflect" if extra < size else "replicate")
    return x
