"""Training steps with automatic mixed precision, as CUDA graphs."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liif_basicsr.devices import autocast, unfit_driver
from liif_basicsr.errors import LIIFError
from liif_basicsr.files import check_output

# Factor for the loss, so that gradients do not underflow in float16. Steps whose gradients overflow are skipped.
LOSS_SCALE = 2.0**14


class Clock:
    """Measures the time of a training, and prints messages with the time.

    Args:
        minutes: total time.
        fill: share of the total time for making pairs before the first step.
    """

    def __init__(self, minutes: float, fill: float) -> None:
        self.begun = self.first_step = time.monotonic()
        self.seconds, self.fill = 60 * minutes, fill

    def report(self, *words: object) -> None:
        """Print a message."""
        print(f"{time.monotonic() - self.begun:6.1f} s", *words, flush=True)

    def filling(self) -> Iterator[None]:
        """Yield until the time for making pairs is over, but at least once. The first step follows."""
        end = time.monotonic() + self.fill * self.seconds
        yield
        while time.monotonic() < end:
            yield
        self.first_step = time.monotonic()

    def share(self) -> float:
        """Return the share of the time for steps that has passed. At the end, it is 1."""
        end = self.begun + self.seconds
        # On a CPU, the time may be over before the first step.
        return (time.monotonic() - self.first_step) / max(end - self.first_step, 1e-3)


class Training:
    """A network, the moving average of its parameters, and the steps that train them.

    On a GPU, a step is recorded as a CUDA graph, and the blocks of the encoder are compiled.

    Attributes:
        net: the network that is trained.
        ema: the network with the moving average of the parameters.
        loss: the loss of the last step.
        skipped: number of steps that were skipped because a gradient overflowed.

    Args:
        net: a network whose encoder consists of blocks in `encoder.body`, on its device.
        ema_decay: decay of the moving average.
        precision: precision of the steps on a GPU, see `liif_basicsr.devices`; on a CPU, it is float32.
    """

    def __init__(self, net: nn.Module, ema_decay: float, precision: str) -> None:
        self.net: Any = net.train()
        self.ema: Any = deepcopy(net).requires_grad_(False)
        self.ema_decay = ema_decay
        self.device = next(net.parameters()).device
        self.on_gpu = self.device.type == "cuda"
        self.precision = precision if self.on_gpu else "float32"
        if self.on_gpu:
            for block in self.net.encoder.body:
                block.compile(dynamic=False)
        # Tensors, because the CUDA graphs read and write them.
        self.lr, self.loss, self.overflow, self.skipped = (torch.zeros((), device=self.device) for _ in range(4))
        self.unscale = torch.full((), 1 / LOSS_SCALE, device=self.device)
        self.start_again()

    def start_again(self) -> None:
        """Continue from the moving average with a new optimizer. Existing steppers must not be used any more."""
        self.net.load_state_dict(self.ema.state_dict())
        self.optimizer: Any = torch.optim.Adam(self.net.parameters(), self.lr, betas=(0.9, 0.99), fused=True,
                                               capturable=self.on_gpu)  # fmt: skip
        self.optimizer.found_inf = self.overflow  # read by the fused optimizer: if it is not 0, the step is skipped

    def synchronize(self) -> None:
        """Wait until the GPU has done its work."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def stepper(self, loss_of_batch: Callable[[], Tensor]) -> Callable[[], None]:
        """Return a function that does one training step. `loss_of_batch` draws a batch and returns its loss."""
        params, averages = list(self.net.parameters()), list(self.ema.parameters())

        def step() -> None:
            with autocast(self.device, self.precision):
                loss = loss_of_batch()
            self.optimizer.zero_grad()
            (loss * LOSS_SCALE).backward()
            self.overflow.zero_()
            gradients = [param.grad for param in params]
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, self.overflow, self.unscale)
            self.optimizer.step()
            self.skipped.add_(self.overflow)
            self.loss.copy_(loss.detach())
            with torch.no_grad():
                torch._foreach_lerp_(averages, params, 1 - self.ema_decay)

        return captured(step) if self.on_gpu else step


def prepare(out: Path, name: str) -> torch.device:
    """Check that `out` can be written, and return the device `name`, `cuda` or `cpu`.

    Raises:
        LIIFError: `out` is not a .pth file or cannot be written, or torch cannot use a GPU.
    """
    check_output(out, [".pth"])
    if name == "cuda" and not torch.cuda.is_available():
        raise LIIFError(f"--device cuda: {unfit_driver() or 'torch cannot use a GPU'}")
    torch.backends.cudnn.benchmark = True
    return torch.device(name)


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


def learning_rate(peak: float, steps: int, share: float, warmup: int = 300) -> float:
    """Return the learning rate after `steps` steps and a `share` of the time: linear warm-up, then a cosine."""
    cosine = (1 + math.cos(math.pi * min(share, 1))) / 2
    return max(1e-6, peak * min(1, (steps + 1) / warmup) * cosine)
