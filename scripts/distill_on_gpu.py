"""Distill liif-fast from the official network on a GPU, within minutes. All data is kept in GPU memory.

    python -m liif_basicsr download edsr-baseline-liif
    python scripts/distill_on_gpu.py photographs liif-fast.pth --blocks 26 --minutes 9
    python -m liif_basicsr convert liif-fast.pth liif-fast.safetensors --compact

The student learns from the original images and from the teacher's self-ensemble over eight orientations. New pairs are
made throughout the training. Each step is a CUDA graph. Blocks that `--blocks` adds do not change the output at first.
The learning rate depends on the elapsed time, not on the number of steps, so two runs end with different weights.
"""
from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from distilling.pairs import Batch, Pairs, Shape
from distilling.photographs import Photographs
from distilling.window import decode_window
from torch import Tensor, nn

from liif_basicsr import load
from liif_basicsr.archs import build_network
from liif_basicsr.devices import autocast, unfit_driver
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.files import check_output
from liif_basicsr.hub import checkpoint, find

# Two of three steps train on the first shape.
SHAPES = [Shape(64, 64, 1, 4, (2, 2, 3, 4)), Shape(40, 64, 4, 8, (4, 6, 8, 8))]
CAPACITY = 120_000  # number of pairs of the first shape, 48 kB each; the second shape has half as many
HELD_OUT = 10  # number of batches of each shape that are used to measure the PSNR, not for training
FILL = 0.06  # share of the total time for making pairs before the first step
STEPS_PER_ADDED = 15  # steps between two batches of new pairs
BATCH, GT_WEIGHT, EMA_DECAY, WARMUP = 32, 0.5, 0.999, 300
# Precision, loss, and the share of the time at which each stage ends.
STAGES = [("bfloat16", "l1", 0.5), ("tf32", "l1", 0.75), ("tf32", "squared", 1.0)]


def grown(
    network_g: Mapping[str, Any], params: Mapping[str, Tensor], blocks: int | None = None, layers: int | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Add residual blocks and layers to a ContinuousShuffleSR without changing its output.

    Args:
        network_g, params: options and parameters of the network.
        blocks: number of residual blocks in the larger network's encoder; None keeps the number.
        layers: number of layers in the larger network's decoder; None keeps the number.

    Returns:
        The options `network_g` and the parameters of the larger network.

    Raises:
        LIIFError: the network is not a ContinuousShuffleSR, or already has more blocks or layers than requested.
    """
    if network_g["type"] != "ContinuousShuffleSR":
        raise LIIFError(f"--start: the network is a {network_g['type']}; start from a ContinuousShuffleSR")
    block = {**network_g, "encoder": dict(network_g["encoder"])}
    if blocks is not None:
        block["encoder"]["num_block"] = blocks
    if layers is not None:
        block["num_layer"] = layers
    torch.manual_seed(0)
    new = build_network(block).state_dict()
    if missing := params.keys() - new.keys():
        raise LIIFError(f"--start: the network has more blocks or layers ({min(missing)}) than requested; raise "
                        "--blocks or --layers")  # fmt: skip
    for name, value in new.items():
        if name not in params and (".conv2." in name or name.startswith("decoder.body.")):
            value.zero_()  # the last layer of a new block, which therefore does not change the output
    return block, {**new, **{name: value.float() for name, value in params.items()}}


def loss_of(batch: Batch, output: Tensor, kind: str) -> Tensor:
    """Return the loss of the student's `output` for a batch. `kind` is `l1` or `squared`."""
    to_teacher, to_gt = output - batch.teacher, output - batch.gt
    if kind == "squared":
        return 40 * (to_teacher.square().mean() + GT_WEIGHT * to_gt.square().mean())
    return to_teacher.abs().mean() + GT_WEIGHT * to_gt.abs().mean()


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Record a step as a CUDA graph after three warm-up steps, and return a function that replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class Training:
    """The student, the moving average of its parameters, and the steps that train them.

    Args:
        net: the student, on its device.
        lr: the highest learning rate.
    """

    def __init__(self, net: nn.Module, lr: float) -> None:
        self.net, self.ema = net.train(), deepcopy(net).requires_grad_(False)
        self.device = next(net.parameters()).device
        self.on_gpu = self.device.type == "cuda"
        self.lr = torch.tensor(0.0, device=self.device)  # read by the graphs
        self.peak = lr
        self.loss = torch.zeros((), device=self.device)
        self.optimizer = torch.optim.Adam(net.parameters(), self.lr, betas=(0.9, 0.99), fused=self.on_gpu or None,
                                          capturable=self.on_gpu)  # fmt: skip

    def stepper(self, pairs: Pairs, precision: str, kind: str) -> Callable[[], None]:
        """Return a function that does one training step on a random batch of the pairs."""
        params, averages = list(self.net.parameters()), list(self.ema.parameters())

        def step() -> None:
            batch = pairs.sample(BATCH)
            with autocast(self.device, precision):
                loss = loss_of(batch, decode_window(self.net, batch), kind)
                self.optimizer.zero_grad()
                loss.backward()
            self.optimizer.step()
            self.loss.copy_(loss.detach())
            with torch.no_grad():
                torch._foreach_lerp_(averages, params, 1 - EMA_DECAY)

        return captured(step) if self.on_gpu else step

    def set_progress(self, steps: int, share: float) -> None:
        """Set the learning rate after `steps` steps and a `share` of the time: linear warm-up, then a cosine."""
        cosine = (1 + math.cos(math.pi * min(share, 1))) / 2
        self.lr.fill_(max(1e-6, self.peak * min(1, (steps + 1) / WARMUP) * cosine))

    @torch.no_grad()
    def psnr(self, held: Batch) -> str:
        """Return the PSNR of the moving average to the teacher and to the original, on pairs held out of training."""
        outputs = []
        for part in zip(*(tensor.split(BATCH) for tensor in held), strict=True):
            outputs.append(decode_window(self.ema, Batch(*part)).clamp(0, 1))
        output = torch.cat(outputs)
        return " / ".join(f"{-10 * math.log10((output - target.clamp(0, 1)).square().mean().item()):.3f}"
                          for target in (held.teacher, held.gt))  # fmt: skip


def make_student(name: str, blocks: int | None, layers: int | None) -> tuple[dict[str, Any], nn.Module]:
    """Load the start network `name`, and enlarge it to `blocks` and `layers`. Return its options and the network."""
    start = checkpoint.read(find(name))
    block, params = grown(start["network_g"], start["params"], blocks, layers)
    net = build_network(block)
    net.load_state_dict(params)
    return block, net


def fill(pools: Sequence[Pairs], until: float) -> None:
    """Add pairs to the pools until the time `until`, but at least one batch of each shape."""
    while pools[0].made < BATCH or time.monotonic() < until:
        for pairs in (pools[0], *pools):
            pairs.add(BATCH)
        if pairs.device.type == "cuda":
            torch.cuda.synchronize()  # otherwise, the loop would queue work faster than the GPU does it


def distill(args: argparse.Namespace) -> None:
    """Train, and save the network after each stage.

    Raises:
        LIIFError: there is no GPU, a file cannot be used, or the loss is not finite.
    """
    check_output(args.out, [".pth"])
    if args.device == "cuda" and not torch.cuda.is_available():
        raise LIIFError(f"--device cuda: {unfit_driver() or 'torch cannot use a GPU'}")
    device, begun = torch.device(args.device), time.monotonic()
    end = begun + 60 * args.minutes

    def report(*words: object) -> None:
        print(f"{time.monotonic() - begun:6.1f} s", *words, flush=True)

    torch.backends.cudnn.benchmark = True
    block, net = make_student(args.start, args.blocks, args.layers)
    training = Training(net.to(device, memory_format=torch.channels_last), args.lr)
    photographs = Photographs(args.photographs, device)
    report(f"{len(photographs)} photographs, {sum(p.numel() for p in net.parameters()) / 1e6:.2f}M parameters")
    teacher = load(args.teacher).to(device).requires_grad_(False)
    pools = [Pairs(shape, CAPACITY // (1 + k), photographs, teacher) for k, shape in enumerate(SHAPES)]
    held_out = [pairs.make(HELD_OUT, BATCH) for pairs in pools]

    def quality() -> str:
        return "PSNR to teacher / original: " + ", ".join(training.psnr(batch) for batch in held_out)

    report(quality())
    fill(pools, begun + FILL * (end - begun))
    report([pairs.made for pairs in pools], "pairs")
    first_step, steps = time.monotonic(), 0
    duration = max(end - first_step, 1e-3)  # on a CPU, the time may be over before the first step
    for precision, kind, share in STAGES:
        steppers = [training.stepper(pairs, precision, kind) for pairs in pools]
        while (done := (time.monotonic() - first_step) / duration) < share:
            training.set_progress(steps, done)
            for _ in range(STEPS_PER_ADDED):
                steppers[steps % 3 == 2]()
                steps += 1
            pools[steps // STEPS_PER_ADDED % 3 == 2].add(BATCH)
            if not math.isfinite(training.loss.item()):
                raise LIIFError(f"--lr {args.lr}: the loss is not finite after {steps} steps; lower --lr")
            if steps % (100 * STEPS_PER_ADDED) == 0:
                report(f"{steps} steps, {precision}, {kind} {training.loss.item():.4f}")
        report(f"end of stage {precision} {kind}, {steps} steps.", quality())
        params = {name: value.cpu().contiguous() for name, value in training.ema.state_dict().items()}
        checkpoint.save(args.out, {"network_g": block, "params": params})


def main() -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images of at least 320x320")
    parser.add_argument("out", type=Path, help="checkpoint (.pth) that is written after each stage")
    parser.add_argument("--start", default="liif-fast", help="network to start from (default: liif-fast)")
    parser.add_argument("--teacher", default="edsr-baseline-liif", help="name or file (default: edsr-baseline-liif)")
    parser.add_argument("--blocks", type=int, help="blocks of the encoder (default: as many as --start has)")
    parser.add_argument("--layers", type=int, help="layers of the decoder (default: as many as --start has)")
    parser.add_argument("--minutes", type=float, default=9, help="total time (default: 9)")
    parser.add_argument("--lr", type=float, default=4e-4, help="highest learning rate (default: 4e-4)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda",
                        help="cpu: only to test the script (default: cuda)")
    args = parser.parse_args()
    return run_script("distill_on_gpu.py", lambda: distill(args), "the network of the last stage is saved")


if __name__ == "__main__":
    sys.exit(main())
