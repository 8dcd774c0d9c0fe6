"""Python code in README and docs passes the type checkers."""
import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from pages import blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every Python block of the pages as a file, named by its page and line."""
    folder = tmp_path_factory.mktemp("blocks")
    found = blocks("python")
    assert len(found) > 10
    for block in found:
        (folder / f"{block.page.stem.replace('-', '_')}_{block.line}.py").write_text(block.text)
    return folder


def check(command):
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy(folder):
    pytest.importorskip("mypy")
    check([sys.executable, "-m", "mypy", "--config-file", "setup.cfg", *sorted(folder.iterdir())])


@pytest.mark.skipif(not (shutil.which("pyright") and shutil.which("node")), reason="pyright or node is not installed")
def test_pyright(folder):
    settings = {"include": [str(folder)], "extraPaths": [str(ROOT)], "reportMissingImports": False}
    config = folder.parent / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    check(["pyright", "--pythonpath", sys.executable, "--project", config])
