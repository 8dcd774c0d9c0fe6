"""Encoders: networks that turn an image into a feature grid of the same height and width.

An encoder is a `torch.nn.Module` with

- `num_in_ch`, a constructor argument: channels of the image;
- `out_channels` (int): channels of the grid;
- `receptive_radius` (int or None): distance in pixels up to which an input pixel matters, so that an image can be
  encoded exactly in overlapping tiles; None if it is unbounded (attention);
- `official_key(key)`, for encoders of the official LIIF code: the official name of a parameter;
- `forward(x)`: (B, num_in_ch, h, w) float, normalized to [-1, 1], to (B, out_channels, h, w), for any h and w; it does
  not modify `x`.
"""
from importlib import import_module
from pkgutil import iter_modules

from liif_basicsr.archs.registry import build_encoder, check_encoder, list_encoders, register_encoder

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["build_encoder", "check_encoder", "list_encoders", "register_encoder"]
