"""Shared fixtures, hypothesis profiles and the choice of device."""
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
from contextlib import nullcontext
from pathlib import Path
from typing import Any

# The tensors are tiny: more threads would only wait for each other. Must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Background jobs of a shell ignore SIGINT, and the processes that tests start and interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
import torch  # noqa: E402
from experiment import make_images, model_options  # noqa: E402
from hypothesis import HealthCheck, is_hypothesis_test, settings  # noqa: E402
from PIL import Image  # noqa: E402

if os.environ.get("LIIF_TEST_DEVICE") == "fakegpu":
    import fakegpu

    fakegpu.install()

# fork, spawn or forkserver; the default is Python's own.
if os.environ.get("LIIF_TEST_START_METHOD"):
    multiprocessing.set_start_method(os.environ["LIIF_TEST_START_METHOD"], force=True)

# These test POSIX features: signals, permissions, resource limits and special files.
collect_ignore = []
if os.name != "posix":
    collect_ignore += ["cli/test_upscale_failing.py", "hub/test_checkpoint_written.py", "images/test_hostile_files.py"]
    collect_ignore += ["scripts/test_faults.py", "launch/test_resume.py"]

# Device (cpu, cuda, mps, or fakegpu, see fakegpu.py) of the networks in the tests of these folders.
DEVICE = os.environ.get("LIIF_TEST_DEVICE", "cpu")
ON_DEVICE = ("archs", "evaluation", "losses", "models", "rendering")

ROOT = Path(__file__).parents[1]
STARTUP_FILES = ("liif_basicsr-startup.pth", "liif_basicsr-startup.start", "_liif_basicsr_startup.py")

# `default` runs the same examples every time. `search` draws new ones, many more, to look for counterexamples.
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
SEARCH_FACTOR = 40
settings.register_profile("default", deadline=None, max_examples=25, derandomize=True, database=None)
settings.register_profile(
    "search", deadline=None, max_examples=25 * SEARCH_FACTOR, derandomize=False, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
if PROFILE not in ("default", "search"):
    raise pytest.UsageError(f"HYPOTHESIS_PROFILE={PROFILE}: expected default or search")
settings.load_profile(PROFILE)


def pytest_configure(config: pytest.Config) -> None:
    """Raise unless LIIF_TEST_DEVICE names a device that torch can use."""
    config.addinivalue_line("markers", "cpu: run on the CPU even if LIIF_TEST_DEVICE names another device")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(),
                 "fakegpu": True}  # fmt: skip
    if not available.get(DEVICE):
        problem = "torch cannot use this device" if DEVICE in available else f"expected one of {', '.join(available)}"
        raise pytest.UsageError(f"LIIF_TEST_DEVICE={DEVICE}: {problem}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep only property tests in the search profile, and scale the number of examples that each one sets."""
    if PROFILE != "search":
        return
    items[:] = [item for item in items if is_hypothesis_test(item.obj)]
    for test in {item.obj for item in items}:
        own = test._hypothesis_internal_use_settings
        if own.max_examples != settings.default.max_examples:
            test._hypothesis_internal_use_settings = settings(own, max_examples=own.max_examples * SEARCH_FACTOR)


@pytest.fixture(autouse=True)
def pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore Pillow's limit on pixels after a test of a command that lifts it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """torch's default device during the test: networks and their inputs are created on it."""
    on_cpu = request.path.parent.name not in ON_DEVICE or request.node.get_closest_marker("cpu")
    chosen = torch.device("cpu" if on_cpu else DEVICE)
    if chosen.type == "cpu":
        yield chosen
        return
    torch.backends.cudnn.allow_tf32 = False  # its rounding exceeds the tests' tolerances
    with fakegpu.Mode() if chosen.type == "fakegpu" else nullcontext(), chosen:
        yield chosen


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder of three small images."""
    return make_images(tmp_path_factory.mktemp("data") / "images", 3, (32, 36))


@pytest.fixture
def opt(tmp_path, images, device) -> dict[str, Any]:
    """Options of a training on `images`, as BasicSR passes them to the model."""
    return {**model_options(tmp_path, images), "num_gpu": int(device.type == "cuda")}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the benchmark images and the official checkpoint, named by LIIF_SHARED_DATA."""
    folder = os.environ.get("LIIF_SHARED_DATA")
    if not folder:
        pytest.skip("LIIF_SHARED_DATA is not set to the folder with the benchmark images")
    return Path(folder)


def clean_environ() -> dict[str, str]:
    """Return the environment without the variables that change how Python or the plugin starts."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("LIIF_", "PYTHON"))}


class Environment:
    """A new virtual environment that sees the packages installed here without running their start-up lines."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=os.name == "posix")
        self.python = folder / "bin" / "python" if os.name == "posix" else folder / "Scripts" / "python.exe"
        self.site = next(folder.glob("[Ll]ib/**/site-packages"))
        self.work = folder / "work"
        self.work.mkdir()
        outer = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        self.outer = self.site / "outer.pth"
        # From Python 3.12 on, a start-up line of setuptools provides distutils, which BasicSR imports.
        if sys.version_info >= (3, 12):
            outer.append("import _distutils_hack; _distutils_hack.add_shim()")
        self.outer.write_text("\n".join(outer) + "\n")

    def add_package(self) -> None:
        """Copy the package without the start-up files. A test may break the copy."""
        shutil.copytree(ROOT / "liif_basicsr", self.site / "liif_basicsr", ignore=shutil.ignore_patterns("__pycache__"))

    def add_plugin(self) -> None:
        """Copy the package and its start-up files."""
        self.add_package()
        for name in STARTUP_FILES:
            shutil.copy(ROOT / name, self.site)

    def run(self, *args: str | Path, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python in an empty folder and check its exit status."""
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
    """A new virtual environment with the plugin installed."""
    environment.add_plugin()
    return environment


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Messages logged by BasicSR's logger."""
    messages: list[str] = []
    logger = logging.getLogger("basicsr")
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)
