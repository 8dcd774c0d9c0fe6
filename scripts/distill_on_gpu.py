"""Distill liif-fast from the official network on a GPU, within minutes and with everything in its memory.

    python -m liif_basicsr download edsr-baseline-liif
    python scripts/distill_on_gpu.py photographs liif-fast.pth --start liif-fast --blocks 24 --minutes 9
    python -m liif_basicsr convert liif-fast.pth liif-fast.safetensors --compact

The loss is the L1 distance to the teacher's eight-fold self-ensemble and to the original, at last the squared error.
Pairs are made all through the training. A step is a CUDA graph. A network grows by blocks that change nothing at first.
The learning rate follows the time, so that two runs differ by rounding, and by the number of their steps.
"""
from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping
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

# Two steps of three train on the first shape, the third on the second.
SHAPES = [Shape(64, 64, 1, 4, (2, 2, 3, 4)), Shape(40, 64, 4, 8, (4, 6, 8, 8))]
BATCH, GT_WEIGHT, EMA_DECAY, WARMUP, STEPS_PER_PAIRS = 32, 0.5, 0.999, 300, 15
# Precision, loss, and the share of the time at which a stage ends.
STAGES = [("bfloat16", "l1", 0.5), ("tf32", "l1", 0.75), ("tf32", "squared", 1.0)]


def grown(network_g: Mapping[str, Any], params: Mapping[str, Tensor], blocks: int, layers: int) -> tuple[dict, dict]:
    """Add residual blocks and layers to a ContinuousShuffleSR without changing its output; return it as above."""
    block = {**network_g, "encoder": {**network_g["encoder"], "num_block": blocks}, "num_layer": layers}
    torch.manual_seed(0)
    new = build_network(block).state_dict()
    if missing := params.keys() - new.keys():
        raise LIIFError(f"--start: has more blocks or layers than asked for ({min(missing)}); ask for more")
    for name, value in new.items():
        if name not in params and (".conv2." in name or name.startswith("decoder.body.")):
            value.zero_()  # the last layer of a residual block
    return block, {**new, **{name: value.float() for name, value in params.items()}}


def loss_of(batch: Batch, output: Tensor, kind: str) -> Tensor:
    """Return the loss of a batch."""
    to_teacher, to_gt = output - batch.teacher, output - batch.gt
    if kind == "squared":
        return 40 * (to_teacher.square().mean() + GT_WEIGHT * to_gt.square().mean())
    return to_teacher.abs().mean() + GT_WEIGHT * to_gt.abs().mean()


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Record a step as a CUDA graph, after three steps that warm it up."""
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
    """The student, its moving average and the steps that train them.

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
        """Return a function that makes one step on a batch of pairs."""
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
        """Set the learning rate: linear warm-up, then a cosine over the whole time."""
        cosine = (1 + math.cos(math.pi * min(share, 1))) / 2
        self.lr.fill_(max(1e-6, self.peak * min(1, (steps + 1) / WARMUP) * cosine))

    @torch.no_grad()
    def psnr(self, held: Batch) -> str:
        """Return the moving average's PSNR to teacher and original on pairs that are not trained on."""
        outputs = []
        for part in zip(*(tensor.split(BATCH) for tensor in held), strict=True):
            outputs.append(decode_window(self.ema, Batch(*part)).clamp(0, 1))
        output = torch.cat(outputs)
        return " / ".join(f"{-10 * math.log10((output - target.clamp(0, 1)).square().mean().item()):.3f}"
                          for target in (held.teacher, held.gt))  # fmt: skip


def distill(args: argparse.Namespace) -> None:
    """Train and save the network.

    Raises:
        LIIFError: no GPU, or an unfit file.
    """
    check_output(args.out, [".pth"])
    if args.device == "cuda" and not torch.cuda.is_available():
        raise LIIFError(f"--device cuda: {unfit_driver() or 'torch cannot use a GPU'}")
    device, begun = torch.device(args.device), time.monotonic()

    def report(*words: object) -> None:
        print(f"{time.monotonic() - begun:6.1f} s", *words, flush=True)

    start = checkpoint.read(find(args.start))
    block, params = grown(start["network_g"], start["params"], args.blocks, args.layers)
    net = build_network(block)
    net.load_state_dict(params)
    training = Training(net.to(device, memory_format=torch.channels_last), args.lr)
    photographs = Photographs(args.photographs, device)
    report(f"{len(photographs)} photographs, {sum(p.numel() for p in net.parameters()) / 1e6:.2f}M parameters")
    teacher = load(args.teacher).to(device).requires_grad_(False)
    torch.backends.cudnn.benchmark = True
    pools = [Pairs(shape, args.pairs // (1 + k), photographs, teacher) for k, shape in enumerate(SHAPES)]
    held = []
    for pairs in pools:
        for _ in range(args.held):
            pairs.add(BATCH)
        held.append(pairs.take())

    def judge() -> str:
        return ", ".join(training.psnr(batch) for batch in held)

    report("PSNR to teacher / original, x1 to x4, x4 to x8:", judge())
    end = begun + 60 * args.minutes
    fill_until = begun + args.fill * 60 * args.minutes
    while pools[0].made < BATCH or time.monotonic() < fill_until:
        for pairs in (pools[0], *pools):
            pairs.add(BATCH)
        if training.on_gpu:
            torch.cuda.synchronize()
    report([pairs.made for pairs in pools], "pairs")
    trained_from, steps = time.monotonic(), 0
    for precision, kind, share in STAGES:
        steppers = [training.stepper(pairs, precision, kind) for pairs in pools]
        stage_end = trained_from + share * (end - trained_from)
        while time.monotonic() < stage_end:
            training.set_progress(steps, (time.monotonic() - trained_from) / (end - trained_from))
            for _ in range(STEPS_PER_PAIRS):
                steppers[1 if steps % 3 == 2 else 0]()
                steps += 1
            pools[1 if steps // STEPS_PER_PAIRS % 3 == 2 else 0].add(BATCH)
            if not math.isfinite(training.loss.item()):
                raise LIIFError(f"--lr {args.lr}: the loss is not finite after {steps} steps; lower it")
            if steps % (100 * STEPS_PER_PAIRS) == 0:
                quality = judge() if steps % (500 * STEPS_PER_PAIRS) == 0 else ""
                report(f"{steps} steps, {precision}, {kind} {training.loss.item():.4f}", quality)
        report(f"stage {precision} {kind}, {steps} steps:", judge())
        params = {name: value.cpu().contiguous() for name, value in training.ema.state_dict().items()}
        checkpoint.save(args.out, {"network_g": block, "params": params})


def main() -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images of at least 320x320")
    parser.add_argument("out", type=Path, help="the checkpoint to write after each stage, .pth")
    parser.add_argument("--start", default="liif-fast", help="the ContinuousShuffleSR to continue (default: liif-fast)")
    parser.add_argument("--teacher", default="edsr-baseline-liif", help="name or file (default: edsr-baseline-liif)")
    parser.add_argument("--blocks", type=int, default=18, help="blocks of the encoder (default: 18)")
    parser.add_argument("--layers", type=int, default=4, help="layers of the decoder (default: 4)")
    parser.add_argument("--minutes", type=float, default=9, help="time for everything (default: 9)")
    parser.add_argument("--fill", type=float, default=0.06, help="share of it that only makes pairs (default: 0.06)")
    parser.add_argument("--lr", type=float, default=4e-4, help="highest learning rate (default: 4e-4)")
    parser.add_argument("--pairs", type=int, default=120_000, help="to keep, 48 kB each (default: 120000)")
    parser.add_argument("--held", type=int, default=10, help="batches of each shape to judge by (default: 10)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda; cpu is a rehearsal")
    args = parser.parse_args()
    return run_script("distill_on_gpu.py", lambda: distill(args), "the network of the last stage is saved")


if __name__ == "__main__":
    sys.exit(main())
