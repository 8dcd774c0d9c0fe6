"""Cheap real processes that can be killed: each is forked from one that has imported everything."""
from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple

from experiment import environ

ADDRESS_SPACE = 24 << 30
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["basicsr.train", "basicsr.test", "liif_basicsr.launch.resume", "liif_basicsr.images.upscale"]
)


class Ended(NamedTuple):
    """How a process ended: its exit status (None: it hung and was killed) and all its output."""

    status: int | None
    said: str


class Running:
    """A process that calls `target(*args)` within a folder and exits with the status that it returns."""

    def __init__(
        self, target: Callable[..., int], *args: Any, folder: Path, said: str = "said",
        files_up_to: int | None = None, **variables: str,
    ) -> None:  # fmt: skip
        ensure_server()
        self.said = folder / said
        self.said.unlink(missing_ok=True)
        self.process = FORKS.Process(target=_run, args=(target, args, folder, self.said, files_up_to, variables))
        self.process.start()

    def wait(self, seconds: float = 300) -> Ended:
        """Wait until the process ends; kill it after `seconds`."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.kill()
            return Ended(None, self.output())
        return Ended(self.process.exitcode, self.output())

    def output(self) -> str:
        """Return all its output, without the NUL that torch's worker prints after "Unexpected bus error"."""
        return self.said.read_text(errors="replace").replace("\0", "")

    def wait_for(self, text: str, seconds: float = 60) -> bool:
        """Wait until it prints a text; False if it ends before."""
        end = time.monotonic() + seconds
        while self.process.exitcode is None and time.monotonic() < end:
            if self.said.exists() and text in self.said.read_text(errors="replace"):
                return True
            time.sleep(0.001)
        return False

    def kill(self) -> bool:
        """Send SIGKILL; False if it had ended by itself."""
        self.process.kill()
        self.process.join()
        return self.process.exitcode == -9


def ensure_server() -> None:
    """Start the fork server unless it is running: it imports this checkout, and uses one thread and no GPU."""
    before = dict(os.environ)
    os.environ.update(environ())
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(target: Callable[..., int], *args: Any, folder: Path, **variables: str) -> Ended:
    """Run a process to its end."""
    return Running(target, *args, folder=folder, **variables).wait()


def train(*args: str) -> int:
    """`python -m liif_basicsr.train` with these arguments."""
    from liif_basicsr.launch import main

    sys.argv = ["train", *args]
    return main(is_train=True)


def command(*args: str) -> int:
    """`python -m liif_basicsr` with these arguments."""
    from liif_basicsr.__main__ import main

    return main(list(args))


def _run(
    target: Callable[..., int], args: tuple[Any, ...], folder: Path, said: Path, files_up_to: int | None,
    variables: dict[str, str],
) -> None:  # fmt: skip
    os.chdir(folder)
    with open(said, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(variables)
    # A process that asks for all memory must fail alone, not take the machine with it.
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    if files_up_to is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (files_up_to, files_up_to))
    sys.exit(target(*args))
