"""Real-world folders: system files, rare suffixes, damaged metadata, and an output folder inside the input folder."""
from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import PngImagePlugin
from tqdm import tqdm

from faultsuite.images import bilinear_network, decoded_elsewhere, gradient, is_enlarged
from faultsuite.processes import command, run
from faultsuite.report import Part, why_not_clean
from liif_basicsr.data.source import open_source
from liif_basicsr.errors import LIIFError


def folders(folder: Path, count: int, seed: int) -> Iterator[Part]:
    """Random folders, upscaled twice and read for training."""
    rng, model = random.Random(seed), bilinear_network(folder / "bilinear.pth")
    enlarged = Part("a folder with system files, rare suffixes and damaged metadata is upscaled twice")
    read = Part("such a folder is read in training")
    for number in tqdm(range(count), desc=enlarged.name):
        at = folder / f"folder{number}"
        (at / "in").mkdir(parents=True)
        photos = [name for name in PHOTOS if name == "a.png" or rng.random() < 0.7]
        for name in photos:
            PHOTOS[name](at / "in" / name)
        others = [name for name in OTHERS if rng.random() < 0.7]
        for name in others:
            (at / "in" / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + rng.randbytes(100))
        upscale_twice(at, photos, others, rng.choice(["out", "in/out", "in/_x2"]), model, f"folder {number}", enlarged)
        read_for_training(at, photos, rng, f"folder {number}", read)
    yield from (enlarged, read)


def upscale_twice(
    at: Path, photos: list[str], others: list[str], out: str, model: Path, trial: str, part: Part
) -> None:  # fmt: skip
    """Upscale a folder twice. Only its photographs are upscaled, and no output of the first run."""
    (at / out).mkdir()
    before = {path.name for path in (at / "in").iterdir()}
    args = ("--scale", "2", "--model", str(model), "--precision", "float32")
    conditions = {}
    for more in ((), ("--overwrite",)):
        ended = run(command, "upscale", "in", out, *args, *more, folder=at)
        conditions[f"exit status 0 ({ended.said[-300:]})"] = ended.status == 0 and why_not_clean(ended) is None
        names = {path.name for path in (at / out).iterdir()}
        conditions[f"each photograph and nothing else, not {sorted(names ^ set(photos))}"] = names == set(photos)
        conditions["other files are counted"] = not others or f"skipped {len(others)} files or folders" in ended.said
    conditions["the input has no new files"] = before == {path.name for path in (at / "in").iterdir()}
    for name in photos:
        made = at / out / name
        conditions[f"the right {name}"] = made.exists() and any(
            is_enlarged(made, seen) for seen in decoded_elsewhere(at / "in" / name, upright=True)
        )
    ended = run(command, "upscale", f"in/{photos[0]}", "-", *args, folder=at)
    conditions["'-' is refused in one line"] = ended.status == 2 and ended.said.count("\n") == 1
    conditions["no file named '-'"] = not (at / "-").exists()
    part.require(trial, conditions, "with each photograph and nothing else")


def read_for_training(at: Path, photos: list[str], rng: random.Random, trial: str, part: Part) -> None:
    """Read a folder as a dataset does: as a whole, and by a meta file, which may have a BOM, CRLF and remarks."""
    meta, chosen = at / "meta.txt", rng.sample(photos, rng.randint(1, len(photos)))
    first, end = rng.choice(["", "\ufeff"]), rng.choice(["\n", "\r\n"])
    rows = [name + rng.choice(["", " (30,40,3)", " # sharp"]) for name in chosen]
    meta.write_bytes((first + end.join(["# photographs", *rows, ""])).encode())
    try:
        source = open_source(str(at / "in"), "disk")
        conditions = {
            "the photographs": source.names == sorted(photos),
            "each of the right size": all(source.read(k).shape == (30, 40, 3) for k in range(len(photos))),
            "the rows of the meta file": open_source(str(at / "in"), "disk", str(meta)).names == chosen,
        }
        part.require(trial, conditions, "with exactly the right files")
    except LIIFError as error:
        part.violation(trial, str(error))


# Files --------------------------------------------------------------------------------------------------------


def write_as(kind: str) -> Callable[[Path], None]:
    return lambda path: gradient().save(path, kind)


def write_wrong_checksum(path: Path) -> None:
    """Write a PNG whose text chunk has been edited without its checksum."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "#" * 8)
    gradient().save(path, pnginfo=info)
    path.write_bytes(path.read_bytes().replace(b"#" * 8, b"edited.."))


def write_short_exif(path: Path) -> None:
    """Write an image with EXIF that ends within its header."""
    gradient().save(path, exif=b"Exif\0\0MM\0")


# file name -> function that writes it
PHOTOS: dict[str, Callable[[Path], None]] = {
    "a.png": write_as("PNG"),
    "b.jfif": write_as("JPEG"),
    "c.jpe": write_as("JPEG"),
    "D.JPG": write_as("JPEG"),
    "e.TIFF": write_as("TIFF"),
    "checksum.png": write_wrong_checksum,
    "exif.png": write_short_exif,
    "exif.jpg": write_short_exif,
}
OTHERS = ["._a.png", "._D.JPG", ".DS_Store", "Thumbs.db", "notes.txt"]
