"""The package works without the modules and functions that Windows or macOS lack. The tests remove these first."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
from conftest import ROOT
from experiment import environ
from PIL import Image

# Dependencies are imported first, because they check the system themselves.
OTHERS = (
    "asyncio, cv2, filelock, lmdb, matplotlib.pyplot, psutil, tifffile, torch.utils.data, torchvision, tqdm, yaml, "
    "basicsr"
)
TAKEN_AWAY = """
import os, signal, sys
for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in ("fork forkpty getegid geteuid getgid getloadavg getpgid getuid killpg mkfifo nice sched_getaffinity "
             "setsid statvfs sysconf sysconf_names uname wait3 wait4 fchmod fchown chown pread pwrite".split()):
    vars(os).pop(name, None)
for name in [name for name in vars(signal) if name.startswith("SIG") and name not in
             ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN")]:
    delattr(signal, name)
"""
EVERYTHING = """
import importlib, importlib.util, pathlib, pkgutil
import liif_basicsr
for module in pkgutil.walk_packages(liif_basicsr.__path__, "liif_basicsr.", onerror=lambda name: None):
    if module.name not in ("liif_basicsr.__main__", "liif_basicsr.plugin.old_locals"):
        try:
            importlib.import_module(module.name)
        except liif_basicsr.LIIFError as error:  # an optional dependency, or ComfyUI
            assert "pip install" in str(error) or "custom_nodes" in str(error), error
sys.path.insert(0, "scripts")
for path in sorted(pathlib.Path("scripts").glob("*.py")):
    importlib.import_module(path.stem)
"""
USED = """
from liif_basicsr.__main__ import main
assert main(["upscale", sys.argv[1], sys.argv[2], "--scale", "2"]) == 0
assert main(["doctor"]) in (0, 1)
sizes = "--processes 1 --crop 16 --step 8".split()
sys.exit(main(["prepare", "folder", str(pathlib.Path(sys.argv[1]).parent), sys.argv[2] + ".set", *sizes]))
"""


def test_everything_works_without_posix_only_features(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    code = f"import {OTHERS}\n{TAKEN_AWAY}{EVERYTHING}{USED}"
    command = [sys.executable, "-c", code, tmp_path / "images" / "a.png", tmp_path / "large.png"]
    done = subprocess.run(
        command, cwd=ROOT, env=environ(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (48, 40)


def test_files_are_opened_with_an_encoding() -> None:
    """Windows and other systems have different default encodings."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--preview", "--select", "PLW1514", "--quiet"]
    done = subprocess.run([*command, "liif_basicsr", "scripts"], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
