"""The start-up hook. It registers the plugin when BasicSR is imported, and provides two modules that may be missing.

`install` puts a finder in front of Python's own finders. The finder handles four names:
- `basicsr`, `spandrel`: their own loaders load them, then the plugin registers itself;
- `torchvision.transforms.functional_tensor`: removed in torchvision 0.17, but imported by BasicSR 1.4.2;
- `basicsr.version`: generated when BasicSR is built, so it is missing in a fresh clone.

Every start of the interpreter runs this module. It therefore imports only modules that Python has already loaded.
"""
import sys
from _thread import get_ident

# Package -> function to call after its import: module and name.
HOSTS = {
    "basicsr": ("liif_basicsr.plugin.registry", "register"),
    "spandrel": ("liif_basicsr.integrations.spandrel", "install"),
}
FUNCTIONAL_TENSOR, BASICSR_VERSION = "torchvision.transforms.functional_tensor", "basicsr.version"


def install() -> None:
    """Install the finder once, and register the plugin in those HOSTS that have already been imported."""
    if not any(type(finder).__name__ == Finder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
        for host in HOSTS:
            if host in sys.modules:
                register_or_warn(host)


def warn(message: str) -> None:
    """Print a warning on stderr, unless Python runs without stderr."""
    if sys.stderr is not None:
        print(f"liif_basicsr: warning: {message}", file=sys.stderr)


def register_or_warn(host: str) -> None:
    """Register the plugin in a host, one of HOSTS. If this fails, print a one-line warning and continue."""
    try:
        from importlib import import_module

        module, function = HOSTS[host]
        if module in sys.modules and not hasattr(sys.modules[module], function):
            # The plugin's module is still being loaded and has just imported the host. The code that imports the
            # plugin's module calls the function.
            return
        getattr(import_module(module), function)()
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        warn(f"{host}: the plugin cannot be registered ({cause}); run `python -m liif_basicsr doctor`")


class Finder:
    """Meta-path finder for HOSTS and for the two modules that may be missing."""

    def __init__(self) -> None:
        # Other hooks of this kind also ask every finder, including this one. To end the recursion, this finder finds
        # nothing when the same thread asks for a name that it is already looking for.
        self._asked: set[tuple[int, str]] = set()

    def find_spec(self, fullname, path=None, target=None):
        """Return the spec from the other finders, with a loader that also registers the plugin; see importlib.abc."""
        if fullname not in HOSTS and fullname not in MISSING:
            return None
        question = (get_ident(), fullname)
        if question in self._asked:
            return None
        self._asked.add(question)
        try:
            others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
            spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        finally:
            self._asked.discard(question)
        if fullname in MISSING and spec is None:
            from importlib.machinery import ModuleSpec

            # The loaders do not derive from importlib.abc.Loader, whose module is not loaded at start-up.
            return ModuleSpec(fullname, ModuleLoader(), origin=__name__)  # type: ignore[arg-type]
        if fullname in HOSTS and spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = RegisterAfter(spec.loader, fullname)  # type: ignore[assignment]
        return spec


class RegisterAfter:
    """Loader of a host that delegates to the host's own loader, and then registers the plugin."""

    def __init__(self, loader, host: str) -> None:
        self.loader = loader
        self.host = host

    def __getattr__(self, name: str):
        if name == "loader":  # not set yet, as in an object that is being copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def exec_module(self, module) -> None:
        """Execute the host with its own loader, then register the plugin."""
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        register_or_warn(self.host)


class ModuleLoader:
    """Loader of one of the two modules that may be missing."""

    def create_module(self, spec) -> None:
        """Return None, so that Python creates the module; see importlib.abc."""

    def exec_module(self, module) -> None:
        """Fill the module."""
        MISSING[module.__name__](module)


def fill_functional_tensor(module) -> None:
    """Add the names in `torchvision.transforms.functional` to a module."""
    from torchvision.transforms import functional

    vars(module).update((name, value) for name, value in vars(functional).items() if not name.startswith("__"))


def fill_version(module) -> None:
    """Set the version as BasicSR's setup.py does, from the clone's VERSION file; "unknown" if the file is missing."""
    from pathlib import Path

    file = Path(sys.modules["basicsr"].__path__[0]).parent / "VERSION"
    module.__version__ = file.read_text().strip() if file.is_file() else "unknown"
    module.__gitsha__ = "unknown"
    module.version_info = tuple(int(part) for part in module.__version__.split(".") if part.isdigit())


# Module that may be missing -> function that fills it.
MISSING = {FUNCTIONAL_TENSOR: fill_functional_tensor, BASICSR_VERSION: fill_version}
