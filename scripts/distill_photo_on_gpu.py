"""Train liif-photo further on a GPU, within minutes: distill it from Real-ESRGAN on degraded photographs.

    python -m liif_basicsr download realesrgan-x4plus
    python -m liif_basicsr prepare folder photographs photographs --pixels
    python scripts/distill_photo_on_gpu.py photographs.pixels liif-photo.pth --minutes 6
    python -m liif_basicsr convert liif-photo.pth liif-photo.safetensors --compact

It does the same as `options/train_liif_photo.yml` and `options/train_liif_photo_texture.yml`, with more and larger
batches. Processes degrade crops of the photographs throughout the training, the teacher upscales them, and all pairs
are kept in GPU memory. The learning rate depends on the elapsed time, so two runs end with different weights.
"""
from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from distilling.pairs import Batch
from distilling.photo_pairs import Crops, PhotoPairs, Window
from distilling.training import Clock, Training, learning_rate, prepare
from distilling.window import decode_window
from torch import Tensor, nn

from liif_basicsr import load
from liif_basicsr.archs.fixed_scale_arch import FixedScaleSR
from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.prepare.distillation import DistillationPairs
from liif_basicsr.data.source import open_source
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.hub import checkpoint, find
from liif_basicsr.losses.grid_loss import GridLoss
from liif_basicsr.losses.texture_loss import TextureLoss

DEGRADATION = {"type": "mix", "parts": ["camera", "jpeg:40-95", "photo", "realesrgan"], "part_prob": [5, 9, 3, 3],
               "clean_prob": 0.22}  # fmt: skip
LQ_SIZE, BATCH, EMA_DECAY = 64, 16, 0.999
# Half of the steps train on the first window.
WINDOWS = [Window(128, 2.5, 4, 0.6), Window(96, 1.75, 3, 0), Window(128, 2.5, 4, 0.6), Window(80, 1.25, 2, 0)]
CAPACITY = 60_000  # number of pairs, 0.2 MB each
HELD_OUT = 128  # number of pairs that are used to measure the PSNR, not for training
ADDED, STEPS_PER_ADDED = 32, 12  # pairs that are added at a time, and steps in between
FILL = 0.04  # share of the total time for making pairs before the first step
PLAIN_WEIGHT = 4  # weight of a plain image in the L1 loss: its errors are small but visible


class Stage(NamedTuple):
    """A stage of the training.

    texture, grid: weights of the losses besides L1.
    peak: highest learning rate, relative to --lr.
    end: share of the time at which the stage ends.
    saves: number of times that the network is saved.
    """

    name: str
    texture: float
    grid: float
    peak: float
    end: float
    saves: int


# Without TextureLoss, GridLoss would remove almost all detail.
STAGES = [Stage("detail", 0, 0, 1, 0.6, 1), Stage("texture", 10, 40, 0.6, 1, 3)]


class Losses(nn.Module):
    """The loss of a batch: the weighted sum of L1, TextureLoss and GridLoss."""

    def __init__(self) -> None:
        super().__init__()
        self.texture, self.grid = TextureLoss(), GridLoss()

    def forward(self, output: Tensor, batch: Batch, plain: Tensor, stage: Stage) -> Tensor:
        weight = 1 + (PLAIN_WEIGHT - 1) * plain
        loss = (weight * (output - batch.gt).abs().mean((1, 2, 3))).mean()
        if stage.texture:
            loss = loss + stage.texture * self.texture(output, batch.gt)
        if stage.grid:
            pitch = (2 / (batch.lq.shape[-1] * batch.cell)).expand(-1, 2)
            loss = loss + stage.grid * self.grid.compare(output, batch.gt, pitch)
        return loss


def compiled(arch: Any, on_gpu: bool) -> Any:
    """Return the teacher's network, prepared to be fast on a GPU."""
    if on_gpu:
        for block in arch.body:
            block.compile(dynamic=False)
    return arch.to(memory_format=torch.channels_last).requires_grad_(False)


@torch.no_grad()
def psnr(net: Any, lq: Tensor, target: Tensor) -> float:
    """Return the mean PSNR of a network's output to the target, on pairs (N, 3, h, w) uint8."""
    size = tuple(target.shape[2:])
    errors = [(net.render(one[None] / 255, size).clamp(0, 1) - true / 255).square().mean()
              for one, true in zip(lq, target, strict=True)]  # fmt: skip
    return -10 * torch.stack(errors).clamp(min=1e-10).log10().mean().item()


def make_pool(args: argparse.Namespace, device: torch.device) -> PhotoPairs:
    """Start the processes that degrade crops, and load the teacher."""
    net: Any = load(args.teacher).to(device)
    if not isinstance(net, FixedScaleSR):
        raise LIIFError(f"--teacher: the network is a {type(net).__name__}; choose a FixedScaleSR such as Real-ESRGAN")
    scale = int(net.scale)
    source = open_source(str(args.photographs), "pixels" if args.photographs.suffix == ".pixels" else "disk")
    teacher: Any = argparse.Namespace(scale=scale)  # the processes only need its scale
    photographs, plain = (
        DistillationPairs(source, teacher, Degradation(DEGRADATION, "DEGRADATION"), LQ_SIZE, int(time.time()), share)
        for share in (0.0, 1.0)
    )
    crops = Crops(photographs, plain)
    return PhotoPairs(crops, args.workers, ADDED, compiled(net.arch, device.type == "cuda"), scale, CAPACITY, device)


def distill(args: argparse.Namespace) -> None:
    """Train, and save the network during and after each stage.

    Raises:
        LIIFError: torch cannot use a GPU, a file cannot be used, or the loss is not finite.
    """
    device, clock = prepare(args.out, args.device), Clock(args.minutes, FILL)
    block = checkpoint.read(find(args.start))["network_g"]
    if block["type"] != "ContinuousShuffleSR":
        raise LIIFError(f"--start: the network is a {block['type']}; start from a ContinuousShuffleSR")
    pairs = make_pool(args, device)
    training = Training(load(args.start).to(device), EMA_DECAY, "bfloat16")
    losses = Losses().to(device)
    while pairs.made < HELD_OUT:
        pairs.add()
    held_out = pairs.lq[: pairs.made].clone(), pairs.target[: pairs.made].clone()
    pairs.made = 0
    clock.report(f"PSNR to the targets {psnr(training.ema, *held_out):.3f}")

    def stepper(window: Window, stage: Stage) -> Callable[[], None]:
        def loss() -> Tensor:
            batch, plain = pairs.sample(BATCH, window)
            return losses(decode_window(training.net, batch), batch, plain, stage)

        return training.stepper(loss)

    for _ in clock.filling():
        pairs.add()
        training.synchronize()  # otherwise, the loop would queue work faster than the GPU does it
    clock.report(pairs.made, "pairs")
    steps, begins = 0, 0.0
    for stage in STAGES:
        training.start_again()
        earlier = steps
        kinds = {window: stepper(window, stage) for window in dict.fromkeys(WINDOWS)}
        steppers = [kinds[window] for window in WINDOWS]
        clock.report(f"stage {stage.name}")
        for saves in range(stage.saves):
            mark = (saves + 1) / stage.saves
            while (done := (clock.share() - begins) / (stage.end - begins)) < mark:
                training.lr.fill_(learning_rate(args.lr * stage.peak, steps - earlier, done))
                for _ in range(STEPS_PER_ADDED):
                    steppers[steps % len(steppers)]()
                    steps += 1
                pairs.add()
                if not math.isfinite(training.loss.item()):
                    raise LIIFError(f"--lr {args.lr}: the loss is not finite after {steps} steps; lower --lr")
                if steps % (50 * STEPS_PER_ADDED) == 0:
                    clock.report(f"{steps} steps, {training.skipped.item():.0f} skipped, {pairs.made} pairs,"
                                 f" loss {training.loss.item():.4f}")  # fmt: skip
            params = {key: value.cpu().half().contiguous() for key, value in training.ema.state_dict().items()}
            last = stage is STAGES[-1] and mark == 1
            out = args.out if last else args.out.with_stem(f"{args.out.stem}_{stage.name}_{steps}")
            checkpoint.save(out, {"network_g": block, "params": params})
            clock.report(f"saved {out.name}. PSNR to the targets {psnr(training.ema, *held_out):.3f}")
        begins = stage.end


def main() -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path,
                        help="folder of photographs, or a data set made with `prepare folder --pixels` (faster)")
    parser.add_argument("out", type=Path, help="checkpoint (.pth); earlier ones get longer names")
    parser.add_argument("--start", default="liif-photo", help="network to start from (default: liif-photo)")
    parser.add_argument("--teacher", default="realesrgan-x4plus", help="name or file (default: realesrgan-x4plus)")
    parser.add_argument("--minutes", type=float, default=6, help="total time (default: 6)")
    parser.add_argument("--lr", type=float, default=2.5e-4, help="highest learning rate (default: 2.5e-4)")
    parser.add_argument("--workers", type=int, default=8, help="processes that degrade crops (default: 8)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda",
                        help="cpu: only to test the script (default: cuda)")
    args = parser.parse_args()
    return run_script("distill_photo_on_gpu.py", lambda: distill(args), "the last network that was saved is kept")


if __name__ == "__main__":
    sys.exit(main())
