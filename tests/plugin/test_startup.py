"""The start-up hook, tested in real interpreters. Each test makes its own environment."""
from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Environment

from liif_basicsr.plugin.registry import entries

HOOKED = "import sys; print('liif_basicsr.plugin.startup' in sys.modules)"
ALL_REGISTERED = (
    "from liif_basicsr.plugin.registry import entries, owner; "
    "print(all(owner(registry, name) == entry.__module__ for registry, name, entry in entries()))"
)
HOSTILE = "print('run from the working folder')"
NEW_ENTRIES = {"data/new_dataset.py": "DATASET", "models/new_model.py": "MODEL", "losses/new_loss.py": "LOSS",
               "metrics/new.py": "METRIC"}  # fmt: skip
NEW_ENTRY = """
from liif_basicsr.registration import register_in

@register_in("{registry}")
class {name}:
    pass
"""


def test_start_loads_the_hook_only(installed: Environment) -> None:
    modules = "import sys; print(*sys.modules)"
    with_hook = set(installed.run("-c", modules).stdout.split())
    without = set(installed.run("-c", modules, LIIF_BASICSR_DISABLE="1").stdout.split())
    assert with_hook - without == {"liif_basicsr", "liif_basicsr.plugin", "liif_basicsr.plugin.startup"}
    assert "_liif_basicsr_startup" in without


@pytest.mark.parametrize(("value", "hooked"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_the_hook_can_be_disabled(installed: Environment, value: str, hooked: bool) -> None:
    assert installed.run("-c", HOOKED, LIIF_BASICSR_DISABLE=value).stdout.strip() == str(hooked)


def test_importing_basicsr_registers_the_plugin_and_changes_nothing_else(installed: Environment) -> None:
    done = installed.run(
        "-c",
        "import importlib, importlib.resources, inspect, basicsr\n"
        + ALL_REGISTERED
        + "\nimport liif_basicsr; liif_basicsr.register(); importlib.reload(basicsr)\n"
        + "importlib.reload(importlib.import_module('liif_basicsr.archs.liif_arch')); liif_basicsr.register()\n"
        + ALL_REGISTERED
        + "\nprint(type(basicsr.__loader__).__name__, basicsr.__loader__ is basicsr.__spec__.loader)\n"
        + "print((importlib.resources.files(basicsr) / 'train.py').is_file(), inspect.getsource(basicsr) > '')",
    )
    assert done.stdout.split() == ["True", "True", "SourceFileLoader", "True", "True", "True"]
    assert done.stderr == ""


@pytest.mark.parametrize("module", sorted({entry.__module__ for _, _, entry in entries()}))
def test_any_module_can_be_imported_first(installed: Environment, module: str) -> None:
    done = installed.run("-c", f"import {module}; {ALL_REGISTERED}")
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_importing_the_plugin_installs_the_hook(environment: Environment) -> None:
    environment.add_package()
    assert environment.run("-c", HOOKED).stdout.strip() == "False"
    assert environment.run("-c", f"import liif_basicsr, basicsr; {ALL_REGISTERED}").stdout.strip() == "True"


def test_importing_the_plugin_after_basicsr_registers_it(environment: Environment) -> None:
    environment.add_package()
    done = environment.run(
        "-c",
        "import sys, torchvision.transforms.functional as functional\n"
        "sys.modules.setdefault('torchvision.transforms.functional_tensor', functional)  # a common workaround\n"
        "import basicsr, liif_basicsr\n" + ALL_REGISTERED,
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_spawned_workers_have_the_plugin(installed: Environment) -> None:
    script = installed.work / "main.py"
    script.write_text(
        "import multiprocessing\n"
        "from liif_basicsr.plugin.registry import owner\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(owner, ('ARCH_REGISTRY', 'LIIF')))\n"
    )
    assert installed.run(script).stdout.strip() == "liif_basicsr.archs.liif_arch"


def test_names_of_other_packages_are_not_overwritten(installed: Environment) -> None:
    file = installed.site / "liif_basicsr" / "losses" / "own_loss.py"
    file.write_text(NEW_ENTRY.format(registry="LOSS_REGISTRY", name="GANLoss"))
    done = installed.run(
        "-c",
        "from liif_basicsr.plugin.registry import owner\n"
        "import basicsr; print(owner('LOSS_REGISTRY', 'GANLoss'), owner('ARCH_REGISTRY', 'LIIF'))",
    )
    theirs, ours = done.stdout.split()
    assert theirs.startswith("basicsr.losses.") and ours == "liif_basicsr.archs.liif_arch"
    assert done.stderr.count("\n") == 1 and "GANLoss" in done.stderr and theirs in done.stderr


def test_a_new_file_is_enough_to_register(installed: Environment) -> None:
    for path, registry in NEW_ENTRIES.items():
        file = installed.site / "liif_basicsr" / path
        file.write_text(NEW_ENTRY.format(registry=f"{registry}_REGISTRY", name=f"New{registry}"))
    names = [(f"{registry}_REGISTRY", f"New{registry}") for registry in NEW_ENTRIES.values()]
    code = f"import basicsr; from liif_basicsr.plugin.registry import owner; print([owner(*n) for n in {names}])"
    expected = [f"liif_basicsr.{path[:-3].replace('/', '.')}" for path in NEW_ENTRIES]
    assert installed.run("-c", code).stdout.strip() == str(expected)


def test_a_failing_plugin_prints_one_line_and_basicsr_works(installed: Environment) -> None:
    (installed.site / "liif_basicsr" / "archs" / "registry.py").write_text("raise RuntimeError('a disk\\nbroke')")
    done = installed.run("-c", "import basicsr; print(basicsr.__version__ > '')")
    assert done.stdout.strip() == "True"
    assert done.stderr.count("\n") == 1
    assert "RuntimeError: a disk broke" in done.stderr
    assert "python -m liif_basicsr doctor" in done.stderr


@pytest.mark.parametrize("lost", [".", "__init__.py", "plugin", "plugin/startup.py"])
def test_python_starts_with_a_partly_removed_plugin(installed: Environment, lost: str) -> None:
    path = installed.site / "liif_basicsr" / lost
    path.rename(installed.work / "lost")
    assert installed.run("-c", "print('works')").stdout.strip() == "works"
    assert installed.run("-c", "").stderr == ""


def test_python_starts_with_a_damaged_plugin(installed: Environment) -> None:
    (installed.site / "liif_basicsr" / "plugin" / "startup.py").write_text("def install(:\n")
    assert installed.run("-c", "").stderr == ""


def test_nothing_is_imported_from_the_working_folder(installed: Environment) -> None:
    (installed.work / "liif_basicsr").mkdir()
    for name in ("liif_basicsr/__init__", "plugin", "startup", "registry", "utils", "errors", "os", "_thread", "sys"):
        (installed.work / f"{name}.py").write_text(HOSTILE)
    done = installed.run("-c", "import sys; print(sys.modules['liif_basicsr'].__file__)")
    assert Path(done.stdout.strip()) == installed.site / "liif_basicsr" / "__init__.py"


def test_functional_tensor_is_provided_if_torchvision_lacks_it(installed: Environment) -> None:
    done = installed.run(
        "-c",
        "import importlib, inspect\n"
        "from torchvision.transforms import functional\n"
        "from torchvision.transforms.functional_tensor import rgb_to_grayscale\n"
        "import torchvision.transforms.functional_tensor as shim\n"
        "print(shim.pad is functional.pad, inspect.getmodule(functional.pad) is functional)\n"
        "print(hasattr(shim, 'no_such_name') or hasattr(shim, '__file__'), importlib.reload(shim) is shim)",
    )
    assert done.stdout.split() == ["True", "True", "False", "True"]


def test_functional_tensor_of_torchvision_has_priority(installed: Environment) -> None:
    folder = installed.site / "torchvision" / "transforms"
    folder.mkdir(parents=True)
    for name in ("../__init__.py", "__init__.py", "functional_tensor.py"):
        (folder / name).touch()
    done = installed.run("-c", "import torchvision.transforms.functional_tensor as own; print(own.__file__)")
    assert Path(done.stdout.strip()) == folder / "functional_tensor.py"


def test_the_hook_works_with_other_hooks(installed: Environment) -> None:
    done = installed.run(
        "-c",
        "import copy, importlib.util, pickle, sys\n"
        "from liif_basicsr.plugin.startup import RegisterAfter, install\n"
        "install()\n"
        "class Other:\n"  # a common kind of post-import hook, which asks all other finders
        "    asked = False\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if not self.asked:\n"
        "            self.asked = True\n"
        "            return importlib.util.find_spec(name)\n"
        "for position in (0, len(sys.meta_path)):\n"
        "    sys.meta_path.insert(position, Other())\n"
        "    loader = importlib.util.find_spec('basicsr').loader\n"
        "    print(isinstance(loader, RegisterAfter), isinstance(loader.loader, RegisterAfter))\n"
        "print(pickle.loads(pickle.dumps(loader)).path == copy.copy(loader).path == loader.get_filename('basicsr'))\n",
    )
    assert done.stdout.split() == ["True", "False", "True", "False", "True"]


def clone_basicsr(environment: Environment) -> Path:
    """Copy BasicSR into the working folder as in a git clone, without the generated version.py."""
    installed = find_spec("basicsr").submodule_search_locations[0]
    clone = environment.work / "basicsr"
    shutil.copytree(installed, clone, ignore=shutil.ignore_patterns("__pycache__", "version.py"))
    return clone


@pytest.mark.parametrize("version", ["1.4.2", None])
def test_a_clone_of_basicsr_without_version_can_be_imported(installed: Environment, version: str | None) -> None:
    clone = clone_basicsr(installed)
    if version:
        (installed.work / "VERSION").write_text(version + "\n")
    done = installed.run("-c", f"import basicsr; print(basicsr.__version__, basicsr.__file__); {ALL_REGISTERED}")
    assert done.stdout.split() == [version or "unknown", str(clone / "__init__.py"), "True"]
    assert done.stderr == ""


def test_the_version_that_basicsr_has_generated_has_priority(installed: Environment) -> None:
    (clone_basicsr(installed) / "version.py").write_text("__version__, __gitsha__ = '1.4.1', 'abc'\n")
    assert installed.run("-c", "import basicsr; print(basicsr.__version__)").stdout.strip() == "1.4.1"


def test_training_starts_in_a_clone_of_basicsr_without_version(installed: Environment) -> None:
    clone_basicsr(installed)
    done = installed.run("-m", "liif_basicsr.train", "-opt", "none.yml", status=2)
    assert "none.yml" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
