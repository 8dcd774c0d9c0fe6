"""Scripts also run where the package is not installed and Python runs no start-up hook."""
from __future__ import annotations

import ast
from pathlib import Path

from conftest import ROOT


def imported(path: Path) -> list[str]:
    """Return the packages that a module imports at its top level."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
    names = [[alias.name for alias in node.names] for node in nodes if isinstance(node, ast.Import)]
    names += [[node.module or ""] for node in nodes if isinstance(node, ast.ImportFrom)]
    return [name.partition(".")[0] for group in names for name in group]


def test_the_plugin_is_imported_before_basicsr():
    """Imports are sorted, so only the `__init__.py` of a package can import the plugin before BasicSR."""
    found = 0
    for path in (ROOT / "scripts").rglob("*.py"):
        if "basicsr" in imported(path):
            found += 1
            assert "liif_basicsr" in imported(path.with_name("__init__.py")), path
    assert found
