"""What several test files need."""
from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Tiny tensors, and other work on the machine: threads only wait for each other. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs ignore interrupts, and so would the processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
import torch  # noqa: E402
from experiment import make_images, model_options  # noqa: E402
from hypothesis import settings  # noqa: E402

# How processes are started: fork, spawn or forkserver; by default as this Python does it.
if os.environ.get("LIIF_TEST_START_METHOD"):
    multiprocessing.set_start_method(os.environ["LIIF_TEST_START_METHOD"], force=True)

# What these test is POSIX's: signals, rights, limits of resources, special files, and faults made with them.
collect_ignore = []
if os.name != "posix":
    collect_ignore += ["cli/test_upscale_failing.py", "hub/test_checkpoint_written.py", "images/test_hostile_files.py"]
    collect_ignore += ["scripts/test_faults.py", "training/test_resume.py"]

# Where the networks are in the tests of these folders: cpu, cuda or mps.
DEVICE = os.environ.get("LIIF_TEST_DEVICE", "cpu")
ON_DEVICE = ("archs", "models", "rendering")

ROOT = Path(__file__).parents[1]
STARTUP_FILES = ("liif_basicsr-startup.pth", "liif_basicsr-startup.start", "_liif_basicsr_startup.py")

settings.register_profile("liif", deadline=None, max_examples=25)
settings.load_profile("liif")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a LIIF_TEST_DEVICE that is unknown or not there."""
    config.addinivalue_line("markers", "cpu: what it tests is on the CPU, whatever LIIF_TEST_DEVICE says")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(DEVICE):
        problem = "there is none that torch can use" if DEVICE in there else f"must be one of {', '.join(there)}"
        raise pytest.UsageError(f"LIIF_TEST_DEVICE={DEVICE}: {problem}")


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """The device of a test's networks: the default one during the test, on which they and their inputs are made."""
    on_cpu = request.path.parent.name not in ON_DEVICE or request.node.get_closest_marker("cpu")
    chosen = torch.device("cpu" if on_cpu else DEVICE)
    if chosen.type == "cpu":
        yield chosen
        return
    torch.backends.cudnn.allow_tf32 = False  # whose rounding is beyond the tests' tolerances
    with chosen:
        yield chosen


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder of three small images."""
    return make_images(tmp_path_factory.mktemp("data") / "images", 3, (32, 36))


@pytest.fixture
def opt(tmp_path, images, device) -> dict[str, Any]:
    """Options of a training on `images`, as the model gets them."""
    return {**model_options(tmp_path, images), "num_gpu": int(device.type == "cuda")}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the benchmark images and the official checkpoint; LIIF_SHARED_DATA names it."""
    folder = os.environ.get("LIIF_SHARED_DATA")
    if not folder:
        pytest.skip("LIIF_SHARED_DATA does not name the folder with the benchmark images")
    return Path(folder)


def clean_environ() -> dict[str, str]:
    """The variables of this process without those that change how Python or the plugin starts."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("LIIF_", "PYTHON"))}


class Environment:
    """A new virtual environment: sees the packages installed here, but runs none of their start-up lines."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=os.name == "posix")
        self.python = folder / "bin" / "python" if os.name == "posix" else folder / "Scripts" / "python.exe"
        self.site = next(folder.glob("[Ll]ib/**/site-packages"))
        self.work = folder / "work"
        self.work.mkdir()
        outer = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        self.outer = self.site / "outer.pth"
        # From Python 3.12 on, setuptools provides the distutils that BasicSR imports, by a start-up line of its own.
        if sys.version_info >= (3, 12):
            outer.append("import _distutils_hack; _distutils_hack.add_shim()")
        self.outer.write_text("\n".join(outer) + "\n")

    def add_package(self) -> None:
        """The plugin's package, as a copy that a test may break, without the start-up line."""
        shutil.copytree(ROOT / "liif_basicsr", self.site / "liif_basicsr", ignore=shutil.ignore_patterns("__pycache__"))

    def add_plugin(self) -> None:
        """The plugin's package and what Python runs of it at its start."""
        self.add_package()
        for name in STARTUP_FILES:
            shutil.copy(ROOT / name, self.site)

    def run(self, *args: str | Path, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python in its empty folder; the exit status must be `status`."""
        command, variables = [self.python, *args], {**clean_environ(), **env}
        done = subprocess.run(command, cwd=self.work, env=variables, text=True, capture_output=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A new virtual environment without the plugin."""
    return Environment(tmp_path / "env")


@pytest.fixture
def installed(environment: Environment) -> Environment:
    """A new virtual environment with the plugin and what Python runs of it at its start."""
    environment.add_plugin()
    return environment


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What BasicSR's logger says."""
    said: list[str] = []
    logger = logging.getLogger("basicsr")
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield said
    logger.removeHandler(handler)
    logger.setLevel(level)
