"""The start-up hook, each time in a real interpreter of an environment made for it."""
from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Environment

from liif_basicsr.plugin.registry import entries

HOOKED = "import sys; print('liif_basicsr.plugin.startup' in sys.modules)"
OWNERS = (
    "from liif_basicsr.plugin.registry import entries, owner; "
    "print(all(owner(r, n) == m for r, n, m in entries()))"
)
HOSTILE = "print('run from the working folder')"


def test_a_start_runs_the_hook_and_loads_nothing_else(installed: Environment) -> None:
    modules = "import sys; print(*sys.modules)"
    with_hook = set(installed.run("-c", modules).stdout.split())
    without = set(installed.run("-c", modules, LIIF_BASICSR_DISABLE="1").stdout.split())
    assert with_hook - without == {"liif_basicsr", "liif_basicsr.plugin", "liif_basicsr.plugin.startup"}
    assert "_liif_basicsr_startup" in without


@pytest.mark.parametrize(("value", "hooked"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_a_variable_switches_the_hook_off(installed: Environment, value: str, hooked: bool) -> None:
    assert installed.run("-c", HOOKED, LIIF_BASICSR_DISABLE=value).stdout.strip() == str(hooked)


def test_basicsr_registers_the_plugin_and_is_otherwise_as_it_was(installed: Environment) -> None:
    done = installed.run(
        "-c",
        "import importlib, importlib.resources, inspect, basicsr\n"
        + OWNERS
        + "\nimport liif_basicsr; liif_basicsr.register(); importlib.reload(basicsr)\n"
        + "importlib.reload(importlib.import_module('liif_basicsr.archs.liif_arch')); liif_basicsr.register()\n"
        + OWNERS
        + "\nprint(type(basicsr.__loader__).__name__, basicsr.__loader__ is basicsr.__spec__.loader)\n"
        + "print((importlib.resources.files(basicsr) / 'train.py').is_file(), inspect.getsource(basicsr) > '')",
    )
    assert done.stdout.split() == ["True", "True", "SourceFileLoader", "True", "True", "True"]
    assert done.stderr == ""


@pytest.mark.parametrize("module", sorted({module for _, _, module in entries()}))
def test_any_module_of_the_plugin_can_be_the_first_that_is_imported(installed: Environment, module: str) -> None:
    done = installed.run("-c", f"import {module}; {OWNERS}")
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_importing_the_plugin_by_hand_does_the_same(environment: Environment) -> None:
    environment.add_package()
    assert environment.run("-c", HOOKED).stdout.strip() == "False"
    assert environment.run("-c", f"import liif_basicsr, basicsr; {OWNERS}").stdout.strip() == "True"


def test_the_plugin_imported_after_basicsr_registers_at_once(environment: Environment) -> None:
    environment.add_package()
    done = environment.run(
        "-c",
        "import sys, torchvision.transforms.functional as functional\n"
        "sys.modules.setdefault('torchvision.transforms.functional_tensor', functional)  # what people did before\n"
        "import basicsr, liif_basicsr\n" + OWNERS,
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_spawned_workers_have_the_plugin_too(installed: Environment) -> None:
    script = installed.work / "main.py"
    script.write_text(
        "import multiprocessing\n"
        "from liif_basicsr.plugin.registry import owner\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(owner, ('ARCH_REGISTRY', 'LIIF')))\n"
    )
    assert installed.run(script).stdout.strip() == "liif_basicsr.archs.liif_arch"


def test_a_name_of_somebody_else_is_left_to_its_owner(installed: Environment) -> None:
    done = installed.run(
        "-c",
        "from liif_basicsr.plugin.registry import TABLE, owner\n"
        "TABLE['ARCH_REGISTRY']['EDSR'] = 'liif_basicsr.archs.liif_arch'\n"
        "import basicsr; print(owner('ARCH_REGISTRY', 'EDSR'), owner('ARCH_REGISTRY', 'LIIF'))",
    )
    assert done.stdout.split() == ["basicsr.archs.edsr_arch", "liif_basicsr.archs.liif_arch"]
    assert done.stderr.count("\n") == 1
    assert "EDSR" in done.stderr
    assert "basicsr.archs.edsr_arch" in done.stderr


def test_a_plugin_that_fails_leaves_basicsr_working_with_one_line(installed: Environment) -> None:
    (installed.site / "liif_basicsr" / "archs" / "liif_arch.py").write_text("raise RuntimeError('a disk\\nbroke')")
    done = installed.run("-c", "import basicsr; print(basicsr.__version__ > '')")
    assert done.stdout.strip() == "True"
    assert done.stderr.count("\n") == 1
    assert "RuntimeError: a disk broke" in done.stderr
    assert "python -m liif_basicsr doctor" in done.stderr


@pytest.mark.parametrize("lost", [".", "__init__.py", "plugin", "plugin/startup.py"])
def test_a_half_uninstalled_plugin_leaves_python_working(installed: Environment, lost: str) -> None:
    path = installed.site / "liif_basicsr" / lost
    path.rename(installed.work / "lost")
    assert installed.run("-c", "print('works')").stdout.strip() == "works"
    assert installed.run("-c", "").stderr == ""


def test_a_damaged_plugin_leaves_python_working(installed: Environment) -> None:
    (installed.site / "liif_basicsr" / "plugin" / "startup.py").write_text("def install(:\n")
    assert installed.run("-c", "").stderr == ""


def test_nothing_is_imported_from_the_working_folder(installed: Environment) -> None:
    (installed.work / "liif_basicsr").mkdir()
    for name in ("liif_basicsr/__init__", "plugin", "startup", "registry", "utils", "errors", "os", "_thread", "sys"):
        (installed.work / f"{name}.py").write_text(HOSTILE)
    done = installed.run("-c", "import sys; print(sys.modules['liif_basicsr'].__file__)")
    assert Path(done.stdout.strip()) == installed.site / "liif_basicsr" / "__init__.py"


def test_the_shim_answers_where_torchvision_has_no_functional_tensor(installed: Environment) -> None:
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


def test_a_torchvision_that_has_functional_tensor_keeps_its_own(installed: Environment) -> None:
    folder = installed.site / "torchvision" / "transforms"
    folder.mkdir(parents=True)
    for name in ("../__init__.py", "__init__.py", "functional_tensor.py"):
        (folder / name).touch()
    done = installed.run("-c", "import torchvision.transforms.functional_tensor as own; print(own.__file__)")
    assert Path(done.stdout.strip()) == folder / "functional_tensor.py"


def test_the_hook_gets_along_with_other_hooks(installed: Environment) -> None:
    done = installed.run(
        "-c",
        "import copy, importlib.util, pickle, sys\n"
        "from liif_basicsr.plugin.startup import RegisterAfter, install\n"
        "install()\n"
        "class Other:\n"  # a post-import hook of the common kind: asks all finders, itself left out
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
