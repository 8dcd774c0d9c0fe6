"""Corrupt images, upscaled or read in training.

Each is reported in one line, or decoded in agreement with OpenCV or Pillow.
"""
from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from experiment import NETWORK
from PIL import Image, ImageOps
from skimage import data
from tqdm import tqdm

from faultsuite.mutate import mutate
from faultsuite.processes import command, run
from faultsuite.report import Part, why_not_clean
from liif_basicsr.archs import build_network
from liif_basicsr.data.arbitrary_scale_image_dataset import ArbitraryScaleImageDataset
from liif_basicsr.data.encode import encode_png
from liif_basicsr.data.source import open_source
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint

BATCH = 25


def images(folder: Path, count: int, seed: int) -> Iterator[Part]:
    """Mutated images of many formats, through the command `upscale` and through a dataset."""
    rng, whole = random.Random(seed), samples()
    model = bilinear_network(folder / "bilinear.pth")
    enlarged, read = Part("a corrupt image is upscaled"), Part("a corrupt image is read in training")
    for start in tqdm(range(0, count, BATCH), desc="corrupt images"):
        files = folder / f"from{start}"
        files.mkdir()
        for number in range(start, min(start + BATCH, count)):
            name = rng.choice(list(whole))
            how, content = mutate(whole[name], rng)
            (files / f"{number}_{how}_{name}").write_bytes(content)
        upscale_all(files, model, enlarged)
        read_all(files, read)
    yield from (enlarged, read)


def samples() -> dict[str, bytes]:
    """Return a photograph in many formats: file name to content."""
    rgb = np.ascontiguousarray(data.astronaut()[30:94, 180:260])
    deep = (rgb.astype(np.uint16) << 8) + rgb[::-1]
    image, files = Image.fromarray(rgb), dict[str, bytes]()
    exif = Image.Exif()
    exif[0x0112] = 6

    def add(name: str, loaded: Image.Image, **how: object) -> None:
        file = BytesIO()
        loaded.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name.rpartition(".")[2].upper()), **how)
        files[name] = file.getvalue()

    add("rgb.png", image)
    add("gray.png", image.convert("L"))
    add("palette.png", image.quantize(64))
    add("alpha.png", image.convert("RGBA"))
    add("photo.jpg", image, quality=90)
    add("progressive.jpg", image, progressive=True)
    add("gray.jpg", image.convert("L"))
    add("turned.jpg", image, exif=exif)
    add("lossy.webp", image)
    add("lossless.webp", image, lossless=True)
    add("plain.tif", image)
    add("lzw.tif", image, compression="tiff_lzw")
    add("deflate.tif", image, compression="tiff_adobe_deflate")
    add("plain.bmp", image)
    files["prepared.png"] = encode_png(rgb, level=1)
    files["deep.png"] = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    tifffile.imwrite(file := BytesIO(), deep, photometric="rgb")
    files["deep.tif"] = file.getvalue()
    return files


def gradient() -> Image.Image:
    """Return a small RGB image without noise."""
    return Image.linear_gradient("L").resize((40, 30)).convert("RGB")


def bilinear_network(path: Path) -> Path:
    """Write a network that adds nothing to bilinear upscaling, which the test can compute; return its path."""
    net = build_network(NETWORK)
    torch.nn.init.zeros_(net.decoder.layers[-1].weight)
    torch.nn.init.zeros_(net.decoder.layers[-1].bias)
    checkpoint.save(path, {"params": net.state_dict(), "network_g": NETWORK})
    return path


# Upscaling --------------------------------------------------------------------------------------------------


def upscale_all(files: Path, model: Path, part: Part) -> None:
    """Upscale a folder in one process; each image is upscaled correctly or reported in one line."""
    work = files.with_name(f"{files.name}_work")
    work.mkdir()
    args = ("upscale", str(files), "out", "--scale", "2", "--model", str(model), "--precision", "float32")
    ended = run(command, *args, folder=work)
    wrong = why_not_clean(ended)
    if wrong:
        part.violation(files.name, wrong)
    lines = ended.said.splitlines()
    for path in sorted(files.iterdir()):
        made, reported = work / "out" / path.name, any(line.startswith(f"{path}: ") for line in lines)
        if not made.exists():
            part.require(path.name, {"a line says why": reported}, "reported in one line without output")
        elif any(is_enlarged(made, seen) for seen in decoded_elsewhere(path, upright=True)):
            part.clean("decoded in agreement with OpenCV or Pillow")
        else:
            part.violation(path.name, "a wrong image")


def decoded_elsewhere(path: Path, upright: bool) -> Iterator[np.ndarray]:
    """Yield an image as decoded by OpenCV and by Pillow: (H, W, 3) in [0, 1], with or without its EXIF orientation."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    with stderr_to_null():
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
        pixels = cv2.imdecode(content, flags)
        if pixels is not None and pixels.dtype in (np.uint8, np.uint16):
            yield pixels[..., ::-1] / np.iinfo(pixels.dtype).max
        with Image.open(path) as image:
            seen = ImageOps.exif_transpose(image) if upright else image
            yield np.asarray(seen.convert("RGB")) / 255


@contextmanager
def stderr_to_null() -> Iterator[None]:
    """Discard messages of C libraries about a corrupt file."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def is_enlarged(made: Path, seen: np.ndarray) -> bool:
    """Return whether an image equals `seen`, bilinearly upscaled by 2, up to compression losses."""
    ours = next(decoded_elsewhere(made, upright=False))
    if ours.shape[:2] != (2 * seen.shape[0], 2 * seen.shape[1]):
        return False
    planes = torch.from_numpy(seen.transpose(2, 0, 1).copy())[None].float()
    large = F.interpolate(planes, scale_factor=2, mode="bilinear")
    difference = np.abs(ours - large[0].permute(1, 2, 0).numpy())
    return difference.mean() < (0.004 if made.suffix.lower() in (".png", ".tif", ".tiff", ".bmp") else 0.05)


# Training ---------------------------------------------------------------------------------------------------


def read_all(files: Path, part: Part) -> None:
    """Read a folder in one process, as training does."""
    work = files.with_name(f"{files.name}_read")
    work.mkdir()
    ended = run(read_folder, str(files), folder=work)
    wrong = why_not_clean(ended)
    if wrong:
        part.violation(files.name, wrong)
        return
    errors = json.loads((work / "errors.json").read_text())
    for path in sorted(files.iterdir()):
        if path.name in errors:
            part.require(path.name, {"the line names it": path.name in errors[path.name]}, "reported in one line")
            continue
        pixels = np.load(work / f"{path.name}.npy")
        pixels = pixels / np.iinfo(pixels.dtype).max
        seen = [other for other in decoded_elsewhere(path, upright=False) if other.shape[:2] == pixels.shape[:2]]
        same = any(np.abs(other - pixels).mean() < 0.004 for other in seen)
        part.require(path.name, {"the right image": same}, "decoded in agreement with OpenCV or Pillow")


def read_folder(folder: str) -> int:
    """Read each image of a folder whole and as a sample; save its pixels or the error."""
    source, errors = open_source(folder, "disk"), {}
    for index, name in enumerate(source.names):
        try:
            pixels = source.read(index)
            np.save(f"{name}.npy", pixels)
        except LIIFError as error:
            errors[name] = str(error)
    Path("errors.json").write_text(json.dumps(errors))
    block = {
        "name": "damaged", "type": "ArbitraryScaleImageDataset", "phase": "train", "dataroot_gt": folder,
        "io_backend": {"type": "disk"}, "lq_size": 4, "scale_range": [1, 2], "sample_q": 9, "on_corrupt": "skip",
        "num_worker_per_gpu": 0, "batch_size_per_gpu": 1,
    }  # fmt: skip
    dataset = ArbitraryScaleImageDataset(block)
    for index in range(len(dataset)):
        sample = dataset[index]
        assert sample["gt"].shape == (9, 3) and torch.isfinite(sample["lq"]).all()
    return 0
