"""Write a network as one ONNX graph for any input and output size."""
from __future__ import annotations

import logging
import os
import tempfile
import warnings
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.rendering.coordinates import pixel_centers

# Sizes for tracing. All sizes and ratios differ, so that the exporter does not unify them.
TRACED_LQ, TRACED_SIZE = (20, 24), (33, 50)
# Largest difference between the outputs of graph and network.
TOLERANCE = 1e-4


class Graph(nn.Module):
    """A network as a function of an image and an output size; the graph computes the coordinates.

    Args:
        net: the network, in evaluation mode.
    """

    def __init__(self, net: ContinuousNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, lq: Tensor, size: Tensor) -> Tensor:
        """Upscale `lq` (1, 3, height, width), RGB in [0, 1], to `size`, int64 (2,), (H, W): (1, 3, H, W) in [0, 1]."""
        height, width = size.tolist()
        torch._check(height > 0)
        torch._check(width > 0)
        y, x = pixel_centers(height), pixel_centers(width)
        coord = torch.stack(torch.broadcast_tensors(y[:, None], x[None]), dim=-1).reshape(1, -1, 2)
        cell = self.net.decoder.image_cell(2 / size.float(), (lq.shape[-2], lq.shape[-1])).view(1, 1, 2)
        return self.net.query(lq, coord, cell).mT.reshape(1, 3, height, width).clamp(0, 1)


def to_onnx(net: ContinuousNetwork, path: str | Path) -> None:
    """Write a network as an ONNX file with inputs `lq` and `size` and output `output`, see `Graph`.

    The graph decodes all pixels at once. A pixel takes about 12 kB of memory if the hidden layers are 256 wide.

    Args:
        net: the network, on the CPU and in evaluation mode.

    Raises:
        LIIFError: the suffix is not .onnx, a required package is missing, the network cannot be exported, or the file
            cannot be written.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise LIIFError(f"{path}: expected a file name that ends in .onnx")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise LIIFError(f"export needs {', '.join(missing)}: pip install 'liif_basicsr[onnx]'")
    try:
        # In a temporary folder next to it, so that nothing remains if it fails.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            partial = Path(folder, "graph.onnx")
            _trace(Graph(net).eval()).save(partial)
            _name_axes(partial)
            _check(partial, net)
            os.replace(partial, path)
    except OSError as error:
        raise LIIFError(f"{path}: cannot be written: {error.strerror}") from None


def _trace(graph: Graph) -> Any:
    inputs = (torch.rand(1, 3, *TRACED_LQ), torch.tensor(TRACED_SIZE))
    any_size = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        # torch warns about its own internals, and prints the whole graph when its first strategy fails.
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            # Not optimized: the optimizer rounds EPS_AREA to 0, and pixels whose four areas are 0 become NaN.
            return torch.onnx.export(
                graph,
                inputs,
                input_names=["lq", "size"],
                output_names=["output"],
                dynamic_shapes={"lq": {2: any_size, 3: any_size}, "size": None},
                dynamo=True,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporter lets all kinds of errors through
        raise LIIFError(f"{_name(graph.net)} cannot be exported: {summarize(error)}") from None


def _name_axes(path: Path) -> None:
    """Name the axes of the inputs and outputs; the exporter numbers them."""
    import onnx

    model = onnx.load(path)
    names = {"lq": ("", "", "height", "width"), "output": ("", "", "out_height", "out_width")}
    renamed = {}
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, names.get(value.name, ()), strict=False):
            if name and axis.dim_param:
                renamed[axis.dim_param] = name
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in renamed:
                axis.dim_param = renamed[axis.dim_param]
    onnx.save(model, path)


def _check(path: Path, net: ContinuousNetwork) -> None:
    """Raise LIIFError unless the graph's output equals the network's, at the traced sizes and at others."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options)
    for in_size, size in (TRACED_LQ, TRACED_SIZE), ((9, 7), (9, 7)), ((13, 31), (40, 47)):
        lq = torch.rand(1, 3, *in_size)
        try:
            (output,) = session.run(None, {"lq": lq.numpy(), "size": np.array(size)})
        except (state.Fail, state.RuntimeException):  # which of them depends on the version
            output = None
        if output is None or not np.allclose(output, net.render(lq, size).clamp(0, 1), rtol=0, atol=TOLERANCE):
            raise LIIFError(f"{_name(net)} cannot be exported: its graph is wrong for sizes other than the traced ones")


def _name(net: ContinuousNetwork) -> str:
    return f"{type(net).__name__} with encoder {type(net.encoder).__name__}"
