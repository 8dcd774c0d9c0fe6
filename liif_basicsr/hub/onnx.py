"""Write a network as an ONNX graph with variable sizes. It renders an image or returns the colors at coordinates."""
from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.errors import LIIFError, errors_about, summarize
from liif_basicsr.files import atomic_write
from liif_basicsr.rendering.coordinates import pixel_centers

Size = tuple[int, int]

# Input size and output size for tracing. All sizes and ratios differ, so that the exporter does not unify them.
TRACED = ((20, 24), (33, 50))
# Input and output sizes at which the outputs of graph and network must be equal.
CHECKED = (TRACED, ((9, 7), (9, 7)), ((13, 31), (40, 47)))
# Largest allowed difference between the outputs of graph and network.
TOLERANCE = 1e-4


class Graph(nn.Module):
    """Wraps a network in a function that can be exported.

    Args:
        net: the network, in evaluation mode.
    """

    # Input or output -> axis of variable size -> name of the axis. The exporter would only number these axes.
    axes: Mapping[str, Mapping[int, str]]

    def __init__(self, net: ContinuousNetwork) -> None:
        super().__init__()
        self.net = net


class ImageGraph(Graph):
    """Upscales an image to a given size. The coordinates are computed in the graph."""

    axes = MappingProxyType({
        "lq": {2: "height", 3: "width"}, "size": {}, "output": {2: "out_height", 3: "out_width"},
    })  # fmt: skip

    def inputs(self, in_size: Size, size: Size) -> dict[str, Tensor]:
        """Return random arguments of `forward`, for an input of `in_size` and an output of `size`."""
        return {"lq": torch.rand(1, self.net.num_in_ch, *in_size), "size": torch.tensor(size)}

    def expected(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Render the image."""
        height, width = inputs["size"].tolist()
        return self.net.render(inputs["lq"], (height, width)).clamp(0, 1)

    def forward(self, lq: Tensor, size: Tensor) -> Tensor:
        """Upscale an image.

        Args:
            lq: the image (1, C, h, w) in [0, 1].
            size: the two integers (H, W), int64.

        Returns:
            The output (1, D, H, W) in [0, 1], where D is the network's `num_out_ch`.
        """
        height, width = size.tolist()
        torch._check(height > 0)
        torch._check(width > 0)
        y, x = pixel_centers(height), pixel_centers(width)
        coord = torch.stack(torch.broadcast_tensors(y[:, None], x[None]), dim=-1).reshape(1, -1, 2)
        cell = self.net.decoder.image_cell(2 / size.float(), (lq.shape[-2], lq.shape[-1])).view(1, 1, 2)
        return self.net.query(lq, coord, cell).mT.reshape(1, self.net.num_out_ch, height, width).clamp(0, 1)


class QueryGraph(Graph):
    """Returns the colors at query coordinates, as `net(lq, coord, cell)` does."""

    axes = MappingProxyType({
        "lq": {2: "height", 3: "width"}, "coord": {1: "queries"}, "cell": {1: "queries"}, "output": {1: "queries"},
    })  # fmt: skip

    def inputs(self, in_size: Size, size: Size) -> dict[str, Tensor]:
        """Return random arguments of `forward`, one query per pixel of `size`."""
        queries = size[0] * size[1]
        cell = torch.rand(1, queries, 2) * 2 / min(in_size)
        coord = torch.rand(1, queries, 2) * 2 - 1
        return {"lq": torch.rand(1, self.net.num_in_ch, *in_size), "coord": coord, "cell": cell}

    def expected(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Query the network."""
        with torch.no_grad():
            return self.net(**inputs).clamp(0, 1)

    def forward(self, lq: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Return the output (1, Q, D) in [0, 1] at query coordinates.

        Args:
            lq: the image (1, C, h, w) in [0, 1].
            coord, cell: coordinates and pixel sizes of the queries, (1, Q, 2) each.
        """
        return self.net.query(lq, coord, cell).clamp(0, 1)


def to_onnx(net: ContinuousNetwork, path: str | Path, queries: bool = False, overwrite: bool = True) -> None:
    """Write a network as an ONNX file.

    The graph's inputs are `lq` and `size` or, with `queries`, `lq`, `coord` and `cell`. Its output is `output`. The
    graph decodes all pixels at once. Each pixel needs about 12 kB of memory if the hidden layers are 256 wide.

    Args:
        net: the network, on the CPU and in evaluation mode.
        queries: export `QueryGraph` instead of `ImageGraph`.

    Raises:
        LIIFError: the suffix is not .onnx, a required package is missing or too old, the network cannot be exported,
            the file cannot be written, or it exists and `overwrite` is not set.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise LIIFError(f"{path}: expected a file name that ends in .onnx")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise LIIFError(f"export needs {', '.join(missing)}; run `pip install 'liif_basicsr[onnx]'`")
    if not hasattr(torch.export.Dim, "DYNAMIC"):
        raise LIIFError(f"export needs a newer version of torch than {torch.__version__}; run `pip install -U torch`")
    graph = (QueryGraph if queries else ImageGraph)(net).eval()
    with errors_about(path), atomic_write(path, overwrite) as file:
        model = _trace(graph).model_proto
        _name_axes(model, graph)
        content = model.SerializeToString()
        _check(content, graph)
        file.write(content)


def _trace(graph: ImageGraph | QueryGraph) -> Any:
    inputs = graph.inputs(*TRACED)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        # torch warns about its own internals, and prints the whole graph when its first strategy fails.
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            # Not optimized: the optimizer rounds EPS_AREA to 0, and pixels whose four areas are 0 become NaN.
            return torch.onnx.export(
                graph,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["output"],
                dynamic_shapes={name: dict.fromkeys(graph.axes[name], torch.export.Dim.DYNAMIC) for name in inputs},
                dynamo=True,
                optimize=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises all kinds of errors
        # Remove torch's terminal colors and advice.
        reason = re.sub(r"\x1b\[\d+m", "", summarize(error)).partition(" This is step")[0]
        raise LIIFError(f"{_name(graph.net)} cannot be exported: {reason}") from None


def _name_axes(model: Any, graph: Graph) -> None:
    """Name the axes of the inputs and outputs of an onnx.ModelProto; the exporter numbers them."""
    renamed = {}
    for value in (*model.graph.input, *model.graph.output):
        for index, name in graph.axes[value.name].items():
            axis = value.type.tensor_type.shape.dim[index]
            if axis.dim_param:
                renamed[axis.dim_param] = name
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in renamed:
                axis.dim_param = renamed[axis.dim_param]


def _check(content: bytes, graph: ImageGraph | QueryGraph) -> None:
    """Raise LIIFError unless the graph's output matches the network's, at the traced sizes and at other sizes."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options)
    for sizes in CHECKED:
        inputs = graph.inputs(*sizes)
        try:
            (output,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        except (state.Fail, state.RuntimeException):  # the type depends on onnxruntime's version
            output = None
        if output is None or not np.allclose(output, graph.expected(inputs), rtol=0, atol=TOLERANCE):
            raise LIIFError(
                f"{_name(graph.net)} cannot be exported: its graph is wrong for sizes other than the traced ones"
            )


def _name(net: ContinuousNetwork) -> str:
    return f"{type(net).__name__} with encoder {type(net.encoder).__name__}"
