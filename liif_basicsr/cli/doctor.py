"""Check the installation, and print how to solve its problems."""
from __future__ import annotations

import argparse
import os
import platform
import site
import sys
import sysconfig
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from liif_basicsr import __file__ as package_file
from liif_basicsr import __version__
from liif_basicsr.plugin import startup, versions

# distribution -> its main module
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "basicsr": "basicsr",
    "numpy": "numpy",
    "opencv-python": "cv2",
    "lmdb": "lmdb",
    "tifffile": "tifffile",
    "pydantic": "pydantic",
    "safetensors": "safetensors",
    "scikit-image": "skimage",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "tqdm": "tqdm",
}
ORDER = 20
STARTUP_FILES = ("liif_basicsr-startup.pth", "liif_basicsr-startup.start")  # for Python up to 3.14, and from 3.15 on


class Report:
    """Prints each finding at once, and collects the problems for a list at the end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, name: str, value: object) -> None:
        """Print one finding."""
        print(f"  {name:<28} {value}")

    def problem(self, what: str, remedy: str) -> None:
        """Record a problem and its remedy."""
        self.problems.append(f"{what}: {remedy}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Do nothing, because the command takes no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print the report.

    Returns:
        Exit status: 0, or 1 if there is a problem.
    """
    report = Report()
    modules = _versions(report)
    _hook(report)
    if modules["basicsr"] is not None:
        _registered(report)
    if modules["torch"] is not None:
        _devices(report, modules["torch"])
    print("\nProblems" if report.problems else "\nNo problem found.")
    for line in report.problems:
        print(f"  {line}")
    return 1 if report.problems else 0


def _versions(report: Report) -> dict[str, ModuleType | None]:
    print("Versions")
    report.say("python", f"{with_tested('python', platform.python_version())}  {sys.executable}")
    report.say("liif_basicsr", f"{__version__}  {Path(package_file).parent}")
    return {module: _load(report, name, module) for name, module in NEEDED.items()}


def _load(report: Report, distribution: str, module: str) -> ModuleType | None:
    try:
        loaded = import_module(module)
    except Exception as error:  # a broken installation may raise anything
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        report.say(distribution, "cannot be imported")
        report.problem(f"{distribution} cannot be imported ({cause})", _remedy(error, distribution, module))
        return None
    try:
        number = version(distribution)
    except PackageNotFoundError:  # installed from a source tree, or as a variant such as opencv-python-headless
        number = getattr(loaded, "__version__", "unknown version")
    file = getattr(loaded, "__file__", None)
    where = Path(file).parent if file else "a folder without __init__.py"
    report.say(distribution, f"{with_tested(distribution, number)}  {where}")
    if versions.is_too_old(distribution, number):
        lowest = versions.TESTED[distribution][0]
        report.problem(f"{distribution} {number} is too old", f"pip install '{distribution}>={lowest}'")
    return loaded


def with_tested(distribution: str, number: str) -> str:
    """Return a version, followed by the range of tested versions if the distribution is in TESTED."""
    tested = versions.TESTED.get(distribution)
    return f"{number} (tested: {' to '.join(tested)})" if tested else number


def _remedy(error: Exception, distribution: str, module: str) -> str:
    if "libGL" in str(error):
        return "install your system's libgl1, or opencv-python-headless in place of opencv-python"
    if isinstance(error, ModuleNotFoundError):
        if error.name == "basicsr":
            return "python -m liif_basicsr install-basicsr"
        if error.name == "distutils":  # BasicSR imports this module, which Python 3.12 removed
            return "pip install setuptools"
        if error.name == module:
            return f"pip install {distribution}"
    return f"pip install --force-reinstall {distribution}"


def _hook(report: Report) -> None:
    print("\nStart-up hook")
    folders = [sysconfig.get_paths()["purelib"], *site.getsitepackages(), site.getusersitepackages()]
    name = STARTUP_FILES[sys.version_info >= (3, 15)]
    file = next((path for folder in folders if (path := Path(folder, name)).is_file()), None)
    report.say("start-up file", file or "not installed")
    if file is None:
        report.problem("the start-up file is not installed, so BasicSR does not find the plugin by itself",
                       "install the plugin with pip, or import liif_basicsr before basicsr")
    switched_off = os.environ.get("LIIF_BASICSR_DISABLE", "0") not in ("", "0")
    report.say("LIIF_BASICSR_DISABLE", os.environ.get("LIIF_BASICSR_DISABLE", "not set"))
    if switched_off:
        report.problem("the start-up hook is switched off", "unset the environment variable LIIF_BASICSR_DISABLE")
    spec = find_spec(startup.FUNCTIONAL_TENSOR) if "torchvision.transforms" in sys.modules else None
    own = "torchvision's own" if spec else "missing"
    shimmed = spec is not None and isinstance(spec.loader, startup.ModuleLoader)
    report.say("functional_tensor", "provided by the plugin, because torchvision lacks it" if shimmed else own)


def _registered(report: Report) -> None:
    from liif_basicsr.plugin.registry import entries, owner

    print("\nRegistered in BasicSR")
    for registry, name, entry in entries():
        found = owner(registry, name)
        if found == entry.__module__:
            report.say(name, "by the plugin")
        elif found is None:
            report.say(name, "missing")
            report.problem(f"{name} is not registered", "see the warning above for the cause")
        else:
            report.say(name, f"by {found}")
            report.problem(f"{name} is already registered by {found}", "rename or uninstall one of the two")


def _devices(report: Report, torch: ModuleType) -> None:
    print("\nDevices")
    report.say("CPU", f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            report.say(f"GPU {index}", torch.cuda.get_device_name(index))
    else:
        report.say("GPU", "none that torch can use; everything runs on the CPU")
        from liif_basicsr.devices import unfit_driver

        cause = unfit_driver()
        if cause:
            report.problem("torch cannot use the NVIDIA GPU of this machine", cause)
