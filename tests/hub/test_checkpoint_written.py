"""A checkpoint is written completely or not at all."""
import os
import resource
import signal
from contextlib import contextmanager

import pytest
import torch

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint


@pytest.mark.parametrize("limit", [0, 2000])
def test_failed_write_keeps_the_older_file(tmp_path, limit):
    """A limit on file sizes simulates a full disk."""
    path = tmp_path / "net_g_1.pth"
    checkpoint.save(path, {"params": {}})
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        with pytest.raises(LIIFError, match="net_g_1.pth: cannot be written"):
            checkpoint.save(path, {"params": {}, "x": torch.zeros(10000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


def test_missing_folder(tmp_path):
    with pytest.raises(LIIFError, match="cannot be written: No such file or directory"):
        checkpoint.save(tmp_path / "none" / "net.pth", {})


class InterruptedFile:
    """A file that raises KeyboardInterrupt on write number `at`."""

    def __init__(self, file, at):
        self.file, self.left = file, at

    def write(self, content):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("at", range(1, 12))
def test_interrupts_during_writing_are_passed_on(tmp_path, monkeypatch, at):
    path, written = tmp_path / "a.pth", checkpoint.atomic_write
    checkpoint.save(path, {"params": {}})
    before = path.read_bytes()

    @contextmanager
    def interrupted(*args):
        with written(*args) as file:
            yield InterruptedFile(file, at)

    monkeypatch.setattr(checkpoint, "atomic_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {str(k): torch.zeros(1000) for k in range(9)})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
