"""A tiny experiment for BasicSR: images, options and the launcher's command."""
from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from liif_basicsr.rendering.coordinates import make_cell

ROOT = Path(__file__).parents[1]
# Where BasicSR looks for the weights of its perceptual loss.
VGG = "experiments/pretrained_models/vgg19-dcbb9e9d.pth"
NETWORK = {
    "type": "LIIF",
    "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1},
    "hidden_dims": [8],
    "input_skip": "bilinear",
}


def make_images(folder: Path, count: int, size: tuple[int, int] = (24, 28), seed: int = 0) -> Path:
    """Write smooth random PNG files, each two pixels higher than the one before."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for k in range(count):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        small.resize((size[1], size[0] + 2 * k), Image.Resampling.BICUBIC).save(folder / f"p{k}.png")
    return folder


def val_set(name: str, folder: Path, scales: list[Any], **more: Any) -> dict[str, Any]:
    """A validation set of whole images."""
    block = {"name": name, "type": "ArbitraryScaleImageDataset", "dataroot_gt": str(folder), "scales": scales}
    return {**block, "io_backend": {"type": "disk"}, **more}


def train_options(folder: Path, total_iter: int = 6, save_every: int = 2, **changes: Any) -> dict[str, Any]:
    """Return options of a training on the images of `folder`, with `changes` at the top level."""
    train_set = {
        "name": "tiny", "type": "ArbitraryScaleImageDataset", "dataroot_gt": str(folder),
        "io_backend": {"type": "disk"}, "lq_size": 6, "scale_range": [1, 4], "sample_q": 36,
        "use_hflip": True, "use_rot": True,
        "num_worker_per_gpu": 0, "batch_size_per_gpu": 4, "dataset_enlarge_ratio": 3,
    }  # fmt: skip
    options = {
        "name": "tiny", "model_type": "LIIFModel", "num_gpu": "auto", "manual_seed": 3,
        "datasets": {"train": train_set}, "network_g": NETWORK, "path": {},
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 0.01},
            "scheduler": {"type": "MultiStepLR", "milestones": [3, 5], "gamma": 0.5},
            "total_iter": total_iter,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 2.0, "reduction": "mean"},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": save_every, "use_tb_logger": False},
    }  # fmt: skip
    return copy.deepcopy({**options, **changes})


def model_options(folder: Path, images: Path) -> dict[str, Any]:
    """Return options as BasicSR's parse_options passes them to the model, with all outputs under `folder`."""
    folders = {key: str(folder / key) for key in ("models", "training_states", "visualization", "results_root")}
    for key in ("models", "training_states", "results_root"):
        (folder / key).mkdir()
    val = {"val_freq": 1, "save_img": False}
    return train_options(images, num_gpu=0, path=folders, val=val, is_train=True, dist=False, rank=0, world_size=1)


def batch(size: int = 4, seed: int = 0) -> dict[str, Any]:
    """Return a batch as from the data loader, on the default device, with gt a function of coord."""
    generator, device = torch.Generator("cpu").manual_seed(seed), torch.get_default_device()
    coord = torch.rand(size, 30, 2, generator=generator, device="cpu").to(device) * 2 - 1
    return {
        "lq": torch.rand(size, 3, 6, 6, generator=generator, device="cpu").to(device),
        "coord": coord,
        "cell": make_cell((12, 12)).expand(size, 1, 2).clone(),
        "gt": torch.sigmoid(coord.sum(-1, keepdim=True)).expand(-1, -1, 3).clone(),
        "gt_path": [f"image{k}.png" for k in range(size)],
    }


def steps(model: Any, count: int, data: dict[str, Any] | None = None) -> list[float]:
    """Train a LIIFModel for `count` iterations and return the losses."""
    losses = []
    for k in range(count):
        model.update_learning_rate(k + 1)
        model.feed_data(data or batch())
        model.optimize_parameters(k + 1)
        losses.append(model.get_current_log()["l_pix"])
    return losses


def assert_same_training(first: torch.nn.Module, second: torch.nn.Module) -> None:
    """Check that two networks have the same parameters after the same steps.

    A GPU sums gradients in varying order. There, parameters may differ by a tenth of the learning rate, which is about
    the size of a step.
    """
    atol = 1e-3 if torch.get_default_device().type in ("cuda", "mps") else 0
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def write_options(path: Path, options: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(options))
    return path


def environ(gpu: bool = False) -> dict[str, str]:
    """Return environment variables for a command.

    They limit it to one thread, which is fastest for small images and keeps the order of sums.

    Args:
        gpu: show GPUs to the command if LIIF_TEST_DEVICE asks for one.
    """
    folders = [ROOT, *([ROOT / "tests" / "start_method"] if os.environ.get("LIIF_TEST_START_METHOD") else [])]
    paths = os.pathsep.join(map(str, folders))
    hidden = {} if gpu and os.environ.get("LIIF_TEST_DEVICE") == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **hidden}


def torchrun(processes: int) -> list[str]:
    """Return the command that runs a script, or `-m module`, in several processes."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]


def children(pid: int) -> list[int]:
    """Return the child processes of a single-threaded process (Linux only)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(module: str, options: Path, *args: str, processes: int = 0) -> list[str]:
    """`python -m liif_basicsr.<module>` or, for several processes, the same by torchrun."""
    run = [sys.executable]
    if processes:
        run, args = torchrun(processes), (*args, "--launcher", "pytorch")
    return [*run, "-m", f"liif_basicsr.{module}", "-opt", str(options), *args]


def launch(module: str, options: Path, *args: str, processes: int = 0, status: int = 0, gpu: bool = False) -> str:
    """Run the command to its end in the options' folder, and return its output; see `environ` for `gpu`."""
    done = subprocess.run(
        command(module, options, *args, processes=processes),
        cwd=options.parent, env=environ(gpu), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout


def write_vgg() -> None:
    """Write random VGG11 weights where BasicSR looks for them. Unused layers take no space."""
    from torchvision.models import vgg11

    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vgg11().state_dict().items()}
    weights = {
        key: torch.randn(shape) / 10 if key.startswith("features") else torch.zeros(()).expand(shape)
        for key, shape in shapes.items()
    }
    Path(VGG).parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, VGG)
