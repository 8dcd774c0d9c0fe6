"""Uncaught LIIFErrors print one line; every other error keeps Python's traceback."""
from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Environment

BROKEN_LOADER = """
import basicsr, torch
from liif_basicsr import LIIFError

class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise LIIFError("photo.png: is corrupt")

if __name__ == "__main__":
    next(iter(torch.utils.data.DataLoader(Broken(), num_workers={workers})))
"""


def write_script(environment: Environment, text: str) -> Path:
    script = environment.work / "basicsr" / "train.py"
    script.parent.mkdir()
    script.write_text(text)
    return script


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_input_is_one_line(installed: Environment, workers: int) -> None:
    script = write_script(installed, BROKEN_LOADER.format(workers=workers))
    assert installed.run(script, status=2).stderr == "liif_basicsr: error: photo.png: is corrupt\n"


def test_other_errors_keep_their_traceback(installed: Environment) -> None:
    script = write_script(installed, "import basicsr\n1 / 0\n")
    done = installed.run(script, status=1)
    assert done.stderr.startswith("Traceback") and done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_an_existing_hook_still_gets_other_errors(installed: Environment) -> None:
    code = "import sys; sys.excepthook = lambda *args: print('theirs', args[0].__name__)\nimport basicsr\n"
    assert installed.run("-c", code + "1 / 0", status=1).stdout == "theirs ZeroDivisionError\n"
    done = installed.run("-c", code + "import liif_basicsr; raise liif_basicsr.LIIFError('a.png: bad')", status=2)
    assert (done.stdout, done.stderr) == ("", "liif_basicsr: error: a.png: bad\n")


def test_an_interactive_session_goes_on(installed: Environment) -> None:
    code = "import sys, basicsr; sys.ps1 = '>>> '\nimport liif_basicsr; raise liif_basicsr.LIIFError('a.png: bad')"
    assert installed.run("-c", code, status=1).stderr == "liif_basicsr: error: a.png: bad\n"


def test_a_name_that_the_plugin_has_taken_gets_a_hint(installed: Environment) -> None:
    code = "from basicsr.utils.registry import ARCH_REGISTRY; ARCH_REGISTRY.register(type({!r}, (), {{}}))"
    lines = installed.run("-c", code.format("LIIF"), status=1).stderr.splitlines()
    assert lines[-2].startswith("AssertionError") and "already registered LIIF; rename yours, or set LIIF" in lines[-1]
    assert "rename" not in installed.run("-c", 2 * (code.format("Theirs") + "\n"), status=1).stderr
