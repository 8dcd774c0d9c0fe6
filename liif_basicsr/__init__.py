"""LIIF, arbitrary-scale super-resolution, as a plugin for BasicSR.

Importing the package puts the hook of `plugin.startup` in place and loads nothing heavy: every start of the
interpreter does it. What is public is loaded when it is first asked for.
"""
from liif_basicsr.plugin.startup import install

__version__ = "0.1.0"

TYPE_CHECKING = False  # `typing` itself would double the cost of importing this package
if TYPE_CHECKING:
    from liif_basicsr.errors import LIIFError as LIIFError
    from liif_basicsr.hub.checkpoint import load as load
    from liif_basicsr.images.upscale import upscale as upscale
    from liif_basicsr.images.warp import remap as remap
    from liif_basicsr.images.warp import rotate as rotate
    from liif_basicsr.images.warp import warp as warp
    from liif_basicsr.plugin.registry import register as register

_PUBLIC = {
    "LIIFError": "liif_basicsr.errors",
    "load": "liif_basicsr.hub.checkpoint",
    "register": "liif_basicsr.plugin.registry",
    "remap": "liif_basicsr.images.warp",
    "rotate": "liif_basicsr.images.warp",
    "upscale": "liif_basicsr.images.upscale",
    "warp": "liif_basicsr.images.warp",
}


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


install()
