"""Compare the speed and memory of this package with the official code.

    git clone https://github.com/yinboc/liif official
    python scripts/benchmark.py --official official
    python scripts/benchmark.py --networks   # cost of each decoder, as Markdown

The official code and ours are timed alternately. Each row shows the median of our times, the median of the speedups,
and the lowest and highest speedup. Without `--official`, only our own times are printed. Close other programs, because
they disturb the measurement. `--device cuda` measures networks on a GPU, without the rows on training samples and
validation.
"""
from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from benchmarking.cases import HIGH, LARGE_HIGH, LARGE_LOW, LOW, NETWORK
from benchmarking.data import measure_data, measure_degradations, measure_validation
from benchmarking.decoders import measure_decoders, measure_fast
from benchmarking.memory import peak_memory
from benchmarking.networks import measure_networks
from benchmarking.official import load_official, official_render
from benchmarking.timing import failed, row, seconds, use_device

from liif_basicsr.archs import build_network
from liif_basicsr.devices import autocast, best_precision, bfloat16_is_fast
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.hub.official import to_official

MEMORY_CASES = [((64, 64), (6144, 6144)), ((3456, 4608), (6912, 9216))]


def precisions() -> dict[str, torch.dtype]:
    """Return the precisions to measure on the default device."""
    fast = bfloat16_is_fast(torch.get_default_device())
    return {"float32": torch.float32, **({"bfloat16": torch.bfloat16} if fast else {})}


def measure_products(runs: int) -> dict[str, float]:
    """Return the highest GFLOP/s of a 256-wide linear layer or 1x1 convolution, by precision."""
    best = {}
    for precision, dtype in precisions().items():
        rates = []
        for rows in (1 << 16, 1 << 18) if torch.get_default_device().type == "cuda" else (4096, 8192):
            x, weight = torch.rand(rows, 256, dtype=dtype), torch.rand(256, 256, dtype=dtype)
            image, kernel = x.T.reshape(1, 256, -1, 64), weight[:, :, None, None]
            image = image.contiguous(memory_format=torch.channels_last)
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            for work in (lambda x=x, w=weight: F.linear(x, w), lambda x=image, w=kernel: F.conv2d(x, w)):
                work()
                times = [seconds(work) for _ in range(10 * runs)]
                rates.append(2 * rows * 256 * 256 / statistics.median(times) / 1e9)
        best[precision] = max(rates)
    return best


@torch.no_grad()
def measure_render(net: Any, theirs: Any, low: tuple[int, int], high: tuple[int, int], runs: int) -> None:
    """Print the time to render an image, and the decoder's GFLOP/s as a share of the result of `measure_products`."""
    lq = torch.rand(1, 3, *low)
    base = (lambda: official_render(theirs, lq, high)) if theirs else None
    rates = measure_products(runs)
    encoder = {}
    for precision in precisions():
        with autocast(torch.get_default_device(), precision):
            encoder[precision] = statistics.median(seconds(lambda: net.encode(lq)) for _ in range(2 * runs))
            own = row(f"render {low[1]}x{low[0]} to {high[1]}x{high[0]}, {precision}", base,
                      lambda: net.render(lq, high), runs)
        exact = 4 * 3 * 256 * 256 * 2 * high[0] * high[1] / 1e9  # 4 corners, 3 layers
        rate = exact / (own - encoder[precision])
        print(f"| the MLP's three 256-wide layers, {precision} | {rate:.0f} GFLOP/s | {rate / rates[precision]:.0%} of "
              f"the fastest 256-wide matrix product, {rates[precision]:.0f} GFLOP/s | |")
    if theirs:
        difference = (net.render(lq, high) - official_render(theirs, lq, high)).abs().max().item()
        print(f"| largest difference, float32 | {difference:.1e} | | |")


def measure_training(net: Any, theirs: Any, batch: int, runs: int) -> None:
    """Time a training step with Adam on `batch` inputs of 48x48 with 2304 queries each. On a GPU, also compiled."""
    lq, coord = torch.rand(batch, 3, 48, 48), torch.rand(batch, 2304, 2) * 2 - 1
    cell, gt = torch.full((batch, 1, 2), 2 / 120), torch.rand(batch, 2304, 3)
    on_gpu = torch.get_default_device().type == "cuda"

    def step(network: Any, forward: Callable[[], torch.Tensor], precision: str) -> Callable[[], None]:
        fused = True if on_gpu and network is net else None  # as in LIIFModel; None for torch's default
        optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=fused)

        def run() -> None:
            optimizer.zero_grad()
            with autocast(torch.get_default_device(), precision):
                output = forward()
            F.l1_loss(output.float(), gt).backward()
            optimizer.step()

        return run

    def official() -> torch.Tensor:
        return theirs((lq - 0.5) / 0.5, coord, cell.expand_as(coord)) * 0.5 + 0.5

    base = step(theirs.train(), official, "float32") if theirs else None
    for precision in precisions():
        name = f"training step of {batch} x 48x48, {precision}"
        row(name, base, step(net.train(), lambda: net(lq, coord, cell), precision), runs)
        if on_gpu:
            compiled = torch.compile(net.query, fullgraph=True)
            row(f"{name}, compiled", base, step(net, lambda net=compiled: net(lq, coord, cell), precision), runs)


def measure_memory() -> None:
    """Print the peak memory of rendering large images, each in its own process."""
    for low, high in MEMORY_CASES:
        device = torch.get_default_device().type
        command = [sys.executable, __file__, "--device", device, "--peak", *map(str, (*low, *high))]
        print(subprocess.run(command, check=True, text=True, capture_output=True).stdout, end="", flush=True)


def print_peak(h: int, w: int, height: int, width: int) -> None:
    """Render an image of h x w pixels at height x width, and print the peak memory of this process."""
    torch.manual_seed(0)
    net, lq = build_network(NETWORK).eval(), torch.rand(1, 3, h, w)
    precision = best_precision(torch.get_default_device(), 8)
    with autocast(torch.get_default_device(), precision):
        took = seconds(lambda: net.render(lq, (height, width)))
    peak = peak_memory() / 2**30
    of = "peak on the GPU" if torch.get_default_device().type == "cuda" else "peak of the process"
    print(f"| {w}x{h} to {width}x{height}, {precision} | {took:.0f} s | {of}: {peak:.2f} GiB | |")


def main() -> int:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="a clone of https://github.com/yinboc/liif")
    parser.add_argument("--runs", type=int, default=7, help="measurements of each row (default: 7)")
    parser.add_argument("--short", action="store_true", help="measure each row once, to check that the script runs")
    parser.add_argument(
        "--memory", action="store_true", help="also measure peak memory on large images, which takes minutes"
    )
    parser.add_argument("--networks", action="store_true", help="print only a table of the decoders' cost")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--peak", type=int, nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.runs = 1 if args.short else args.runs
    return run_script("benchmark.py", lambda: measure(args), "results are not saved")


def measure(args: argparse.Namespace) -> None:
    """Measure and print the table, or the row of `--peak`.

    Raises:
        LIIFError: torch cannot use a GPU, an option runs only on the CPU, or rows could not be measured.
    """
    use_device(args.device)
    if args.peak:
        print_peak(*args.peak)
        return
    if args.device == "cuda" and args.networks:
        raise LIIFError("--networks: runs on the CPU only; remove --device cuda")
    torch.manual_seed(0)
    if args.networks:
        measure_networks(args.runs)
        return
    net = build_network(NETWORK).eval()
    checkpoint = to_official({"network_g": NETWORK, "params": net.state_dict()})
    theirs = load_official(args.official, checkpoint) if args.official else None
    cpu = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    print(f"torch {torch.__version__}, {cpu if args.device == 'cpu' else torch.cuda.get_device_name()}")
    if "bfloat16" not in precisions():
        print("bfloat16 is skipped: this processor lacks instructions for it")
    print("\n| | ours | speedup over the official code in float32 | range |\n|---|---|---|---|")
    measure_render(net, theirs, LOW, HIGH, args.runs)
    if args.device == "cuda":
        measure_render(net, theirs, LARGE_LOW, LARGE_HIGH, args.runs)
    measure_fast(theirs, args.runs)
    measure_training(net, theirs, 16 if args.device == "cuda" else 4, args.runs)
    if args.device == "cpu":
        measure_data(args.official, args.runs)
        measure_degradations(args.runs)
        measure_validation(NETWORK)
    if args.memory:
        measure_memory()
    measure_decoders(args.runs)
    if failed:
        raise LIIFError(f"could not measure {', '.join(failed)}; see the table")


if __name__ == "__main__":
    sys.exit(main())
