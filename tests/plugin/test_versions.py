"""setup.cfg requires the lowest tested versions. Older ones are rejected in one line."""
from __future__ import annotations

from configparser import ConfigParser

import pytest
from conftest import ROOT, Environment
from packaging.requirements import Requirement

from liif_basicsr.errors import LIIFError
from liif_basicsr.plugin import install_basicsr, versions


def test_the_lowest_versions_agree_with_setup_cfg() -> None:
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    wanted = [Requirement(line) for line in config["options"]["install_requires"].split("\n") if line]
    lowest: dict[str, str] = {"python": config["options"]["python_requires"].removeprefix(">=")}
    for requirement in wanted:
        for specifier in requirement.specifier:
            lowest.setdefault(requirement.name.lower(), specifier.version)
    for distribution, (oldest, _) in versions.TESTED.items():
        assert lowest[distribution] == oldest, distribution
    assert versions.TESTED["python"][0] == ".".join(map(str, install_basicsr.MINIMUM))


@pytest.mark.parametrize("version", ["2.3.1", "2.3.1+cu118", "1.13", "2.2.0a0+git123"])
def test_an_old_version_is_refused(version: str) -> None:
    with pytest.raises(LIIFError) as caught:
        versions.check("torch", version)
    assert str(caught.value) == f"torch {version} is too old; install 2.4 or newer"


@pytest.mark.parametrize("version", ["2.4", "2.4.0+cpu", "2.14.1", "3.0.0rc1", "unknown", ""])
def test_supported_versions_pass(version: str) -> None:
    versions.check("torch", version)


def test_an_old_basicsr_works_without_the_plugin(installed: Environment) -> None:
    (installed.site / "basicsr").mkdir()
    (installed.site / "basicsr" / "__init__.py").write_text("__version__ = '1.3.3.11'")
    done = installed.run("-c", "import basicsr; print(basicsr.__version__)")
    assert done.stdout.strip() == "1.3.3.11"
    assert done.stderr.count("\n") == 1
    assert "basicsr 1.3.3.11 is too old; install 1.3.4.9 or newer" in done.stderr


@pytest.mark.parametrize("module", ["train", "test"])
def test_the_launchers_report_a_missing_basicsr(installed: Environment, module: str) -> None:
    installed.outer.unlink()
    options = ROOT / "options" / "train_liif_edsr.yml"  # a missing file would be reported first
    done = installed.run("-m", f"liif_basicsr.{module}", "-opt", str(options), status=2)
    assert done.stderr == (
        "liif_basicsr: error: BasicSR is not installed; run `python -m liif_basicsr install-basicsr`\n"
    )
