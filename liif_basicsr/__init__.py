"""LIIF, arbitrary-scale super-resolution, as a plugin for BasicSR.

    import liif_basicsr

    large = liif_basicsr.upscale("photo.jpg", scale=3.7)      # Pillow image; also arrays and tensors
    net = liif_basicsr.load("liif-fast")                       # torch.nn.Module
    liif_basicsr.list_models(), liif_basicsr.list_archs()

Every start of the interpreter imports this package, so the import only installs the light hook of `plugin.startup`.
Public functions are imported on first use.
"""
from liif_basicsr.plugin.startup import install

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing `typing` would double the time to import this package
if TYPE_CHECKING:
    from liif_basicsr.archs import list_archs
    from liif_basicsr.errors import LIIFError
    from liif_basicsr.hub import list_models
    from liif_basicsr.hub.checkpoint import load
    from liif_basicsr.images.upscale import upscale
    from liif_basicsr.images.warp import remap, rotate, warp
    from liif_basicsr.plugin.registry import register

__all__ = ["LIIFError", "list_archs", "list_models", "load", "register", "remap", "rotate", "upscale", "warp"]

# Public name -> module
_PUBLIC = {
    "LIIFError": "liif_basicsr.errors",
    "list_archs": "liif_basicsr.archs",
    "list_models": "liif_basicsr.hub",
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
