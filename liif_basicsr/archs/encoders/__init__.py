"""Encoders: networks that turn an image into a feature grid of the same height and width.

An encoder is a `torch.nn.Module` with

- `num_in_ch`, a constructor argument: number of channels of the image;
- `out_channels` (int): number of channels of the feature grid;
- `receptive_radius` (int or None): a feature depends on input pixels up to this distance, in pixels. Tiles that overlap
  accordingly are encoded exactly. None if the receptive field is unbounded, as with attention;
- `forward(x)`: maps images (B, num_in_ch, h, w), floats in [-1, 1], to features (B, out_channels, h, w). It accepts any
  h and w and does not modify `x`;
- `official_key(key)`, only for encoders of the official LIIF code: returns a parameter's name in that code.
"""
from importlib import import_module
from pkgutil import iter_modules

from liif_basicsr.archs.registry import build_encoder, check_encoder, list_encoders, register_encoder

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["build_encoder", "check_encoder", "list_encoders", "register_encoder"]
