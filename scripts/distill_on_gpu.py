"""Distill liif-fast from the official network on a GPU, within minutes. All data is kept in GPU memory.

    python -m liif_basicsr download edsr-baseline-liif
    python scripts/distill_on_gpu.py photographs liif-fast.pth --blocks 26 --minutes 9
    python -m liif_basicsr convert liif-fast.pth liif-fast.safetensors --compact

The student learns from the original images and from the teacher's self-ensemble over eight orientations. For images in
`--drawings`, such as slides and screenshots, the original counts more than the teacher. New pairs are made throughout
the training. Each step is a CUDA graph. Blocks that `--blocks` adds do not change the output at first. The learning
rate depends on the elapsed time, not on the number of steps, so two runs end with different weights.
"""
from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from distilling.pairs import Batch, Pairs, Shape
from distilling.photographs import Photographs
from distilling.training import Clock, Training, learning_rate, prepare
from distilling.window import decode_window
from torch import Tensor, nn

from liif_basicsr import load
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.hub import checkpoint, find

# Two of three steps train on the first shape.
SHAPES = [Shape(64, 64, 1, 4, (2, 2, 3, 4)), Shape(40, 64, 4, 8, (4, 6, 8, 8))]
CAPACITY = 120_000  # number of pairs of the first shape, 48 kB each; the second shape has half as many
HELD_OUT = 10  # number of batches of each shape that are used to measure the PSNR, not for training
FILL = 0.06  # share of the total time for making pairs before the first step
STEPS_PER_ADDED = 21  # steps between two batches of new pairs
BATCH, DRAWINGS_IN_BATCH, EMA_DECAY = 32, 8, 0.999
# Weights of the errors with respect to the teacher and to the original.
PHOTOGRAPH_WEIGHTS, DRAWING_WEIGHTS = (1, 0.5), (0.3, 1)
# Loss, and the share of the time at which each stage ends.
STAGES = [("l1", 0.4), ("squared", 1.0)]
# Mean squared error of a typical window, and the error (40 dB) below which a window counts less.
TYPICAL_ERROR, SMALL_ERROR = 2e-3, 1e-4


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


class Pool(NamedTuple):
    """Pairs of one shape, the number of them in a batch, and the weights of their errors.

    The weights are those with respect to the teacher and to the original.
    """

    pairs: Pairs
    count: int
    weights: tuple[float, float]


def joint_batch(pools: Sequence[Pool]) -> Batch:
    """Draw a batch that contains pairs of each pool."""
    batches = [pool.pairs.sample(pool.count) for pool in pools]
    return Batch(*(torch.cat(tensors) for tensors in zip(*batches, strict=True)))


def loss_of(batch: Batch, output: Tensor, weights: Tensor, kind: str) -> Tensor:
    """Return the loss of the student's `output` for a batch.

    Args:
        weights: (2, B), weights of the errors with respect to the teacher and to the original.
        kind: `l1`, or `squared`: each window's mean squared error, divided by its current size. This minimizes the mean
            logarithm of the errors, and so maximizes the mean PSNR, as benchmarks compute it.
    """
    differences = torch.stack((output - batch.teacher, output - batch.gt))
    if kind == "l1":
        return (weights * differences.abs().mean((2, 3, 4))).sum(0).mean()
    errors = differences.square().mean((2, 3, 4))
    share = TYPICAL_ERROR / (errors[1].detach() + SMALL_ERROR)
    return 40 * (share * weights * errors).sum(0).mean()


@torch.no_grad()
def psnr(net: nn.Module, held: Batch) -> str:
    """Return a network's PSNR to the teacher and to the original, on pairs held out of training."""
    outputs = []
    for part in zip(*(tensor.split(BATCH) for tensor in held), strict=True):
        outputs.append(decode_window(net, Batch(*part)).clamp(0, 1))
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


def add(pools: Sequence[Pool]) -> None:
    """Add a batch of pairs to pools of one shape."""
    for pool in pools:
        pool.pairs.add(pool.count)


def make_pools(args: argparse.Namespace, device: torch.device) -> list[list[Pool]]:
    """Read the photographs and drawings. Return the pools of each shape: photographs, and drawings if there are any."""
    folders = [(args.photographs, BATCH, PHOTOGRAPH_WEIGHTS)]
    if args.drawings is not None:
        folders = [(args.photographs, BATCH - DRAWINGS_IN_BATCH, PHOTOGRAPH_WEIGHTS),
                   (args.drawings, DRAWINGS_IN_BATCH, DRAWING_WEIGHTS)]  # fmt: skip
    sources = [(Photographs(folder, device), count, weights) for folder, count, weights in folders]
    teacher = load(args.teacher).to(device).requires_grad_(False)
    return [[Pool(Pairs(shape, CAPACITY * count // BATCH // (1 + k), photographs, teacher), count, weights)
             for photographs, count, weights in sources] for k, shape in enumerate(SHAPES)]  # fmt: skip


def distill(args: argparse.Namespace) -> None:
    """Train, and save the network after each stage.

    Raises:
        LIIFError: torch cannot use a GPU, a file cannot be used, or the loss is not finite.
    """
    device, clock = prepare(args.out, args.device), Clock(args.minutes, FILL)
    block, net = make_student(args.start, args.blocks, args.layers)
    training = Training(net.to(device, memory_format=torch.channels_last), EMA_DECAY, "float16")
    shapes = make_pools(args, device)
    images = " + ".join(str(len(pool.pairs.photographs)) for pool in shapes[0])
    clock.report(f"{images} images, {sum(p.numel() for p in net.parameters()) / 1e6:.2f}M parameters")
    held_out = [pool.pairs.make(HELD_OUT, pool.count) for pools in shapes for pool in pools]
    weights = torch.cat([torch.tensor(pool.weights, device=device)[:, None].expand(-1, pool.count)
                         for pool in shapes[0]], dim=1)  # fmt: skip

    def quality() -> str:
        return "PSNR to teacher / original: " + ", ".join(psnr(training.ema, batch) for batch in held_out)

    def stepper(pools: Sequence[Pool], kind: str) -> Callable[[], None]:
        def loss() -> Tensor:
            batch = joint_batch(pools)
            return loss_of(batch, decode_window(training.net, batch), weights, kind)

        return training.stepper(loss)

    clock.report(quality())
    for _ in clock.filling():
        for pools in (shapes[0], *shapes):
            add(pools)
        training.synchronize()  # otherwise, the loop would queue work faster than the GPU does it
    clock.report([[pool.pairs.made for pool in pools] for pools in shapes], "pairs")
    steps = 0
    for kind, share in STAGES:
        steppers = [stepper(pools, kind) for pools in shapes]
        while (done := clock.share()) < share:
            training.lr.fill_(learning_rate(args.lr, steps, done))
            for _ in range(STEPS_PER_ADDED):
                steppers[steps % 3 == 2]()
                steps += 1
            add(shapes[steps // STEPS_PER_ADDED % 3 == 2])
            if not math.isfinite(training.loss.item()):
                raise LIIFError(f"--lr {args.lr}: the loss is not finite after {steps} steps; lower --lr")
            if steps % (100 * STEPS_PER_ADDED) == 0:
                clock.report(f"{steps} steps, {training.skipped.item():.0f} skipped, {kind} {training.loss.item():.4f}")
        clock.report(f"end of stage {kind}, {steps} steps.", quality())
        params = {name: value.cpu().contiguous() for name, value in training.ema.state_dict().items()}
        checkpoint.save(args.out, {"network_g": block, "params": params})


def main() -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of images of at least 320x320")
    parser.add_argument("out", type=Path, help="checkpoint (.pth) that is written after each stage")
    parser.add_argument("--drawings", type=Path, help="folder of slides, screenshots or comics, at least as large")
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
