"""The start-up hook: BasicSR finds the plugin without knowing it, and old BasicSR finds new torchvision.

`install` puts one finder in front of Python's own. It answers for three names only:
- `basicsr`, `spandrel`: loaded by their own loaders; when that is done, the plugin registers itself in them;
- `torchvision.transforms.functional_tensor`: gone since torchvision 0.17, still imported by BasicSR 1.4.2.

This runs at every start of the interpreter, hence imports nothing that is not loaded already.
"""
import sys
from _thread import get_ident

# Package -> what to call once it has been imported: module and function.
HOSTS = {
    "basicsr": ("liif_basicsr.plugin.registry", "register"),
    "spandrel": ("liif_basicsr.integrations.spandrel", "install"),
}
SHIMMED = "torchvision.transforms.functional_tensor"


def install() -> None:
    """Put the finder in place, once; in hosts that are loaded already, register at once."""
    if not any(type(finder).__name__ == Finder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
        for host in HOSTS:
            if host in sys.modules:
                register_or_warn(host)


def warn(message: str) -> None:
    """One line on stderr, if there is one."""
    if sys.stderr is not None:
        print(f"liif_basicsr: warning: {message}", file=sys.stderr)


def register_or_warn(host: str) -> None:
    """Register the plugin in a host; a failure is reported in one line, and the host works without it."""
    try:
        from importlib import import_module

        module, function = HOSTS[host]
        if module in sys.modules and not hasattr(sys.modules[module], function):
            return  # that module is what imports the host just now; whoever imports it calls it
        getattr(import_module(module), function)()
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        warn(f"{host} goes without the plugin ({cause}); see: python -m liif_basicsr doctor")


class Finder:
    """Meta-path finder for HOSTS and for torchvision's missing module."""

    def __init__(self) -> None:
        # Other finders of this kind ask all of sys.meta_path too: who asks again while being asked finds nothing.
        self._asked: set[tuple[int, str]] = set()

    def find_spec(self, fullname, path=None, target=None):
        """The spec that the other finders give, with what this module adds to it; see importlib.abc."""
        if fullname not in HOSTS and fullname != SHIMMED:
            return None
        question = (get_ident(), fullname)
        if question in self._asked:
            return None
        self._asked.add(question)
        try:
            spec = self._ask_others(fullname, path, target)
        finally:
            self._asked.discard(question)
        if fullname == SHIMMED:
            return spec or _shim_spec()
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = RegisterAfter(spec.loader, fullname)
        return spec

    def _ask_others(self, fullname, path, target):
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


class RegisterAfter:
    """Loader of a host: its own loader in all, and the registration after it."""

    def __init__(self, loader, host: str) -> None:
        self.loader = loader
        self.host = host

    def __getattr__(self, name: str):
        if name == "loader":  # a copy that is still empty
            raise AttributeError(name)
        return getattr(self.loader, name)

    def exec_module(self, module) -> None:
        """Execute the host as if nothing stood between, then register."""
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        register_or_warn(self.host)


class ShimLoader:
    """Loader of an empty module that passes every name on to `torchvision.transforms.functional`."""

    def create_module(self, spec) -> None:
        """Python's usual module; see importlib.abc."""

    def exec_module(self, module) -> None:
        """Give the module its `__getattr__`."""

        def delegate(name: str):
            from torchvision.transforms import functional

            if name.startswith("__") or not hasattr(functional, name):
                raise AttributeError(f"module {SHIMMED!r} has no attribute {name!r}")
            return getattr(functional, name)

        module.__getattr__ = delegate


def _shim_spec():
    from importlib.machinery import ModuleSpec

    # A Loader by what it does: importlib.abc, to derive from, is not loaded at start-up.
    return ModuleSpec(SHIMMED, ShimLoader(), origin=__name__)  # type: ignore[arg-type]
