"""Networks on a simulated GPU: fake tensors have only a shape, a dtype and a device.

All operations must run on the GPU, and rendering must not read values back from it. The backward pass is not tested,
because it needs a driver even with fake tensors.
"""
import pytest
import torch
from conftest import DEVICE
from test_decoders import NETWORKS, small_network
from torch._subclasses.fake_tensor import FakeTensorMode

from liif_basicsr.plugin.versions import numbers

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(DEVICE == "fakegpu", reason="two simulated devices exclude each other"),
    pytest.mark.skipif(numbers(torch.__version__) < [2, 6], reason="this torch needs a driver even for fake tensors"),
]
# Queries of these networks read one value back from the GPU: the largest cell, which determines the size of the filter.
READS = {"PixelShuffleSR", "FixedScaleSR"}


def on_fake_gpu(net: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Replace a network's parameters and buffers by fake tensors on a GPU. Call it within FakeTensorMode."""
    for module in net.modules():
        for tensors in (module._parameters, module._buffers):
            for key, value in tensors.items():
                if value is not None:
                    like = dtype if value.is_floating_point() else value.dtype
                    fake = torch.empty_strided(value.shape, value.stride(), dtype=like, device="cuda")
                    tensors[key] = torch.nn.Parameter(fake) if tensors is module._parameters else fake
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("skip", [None, "bilinear"])
@pytest.mark.parametrize("name", NETWORKS)
def test_everything_stays_on_the_gpu(name, skip, dtype, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)  # needs a driver
    net = small_network(name)
    net.input_skip = skip
    with FakeTensorMode(allow_non_fake_inputs=False), torch.no_grad():
        on_fake_gpu(net, dtype)
        lq = torch.rand(2, 3, 20, 17, device="cuda", dtype=dtype)
        outputs = [
            net.render(lq, (50, 41)),
            net.render(lq, (50, 41), (10, 5, 20, 30)),
            net.encode_image(lq[:1]).render((13, 41), (3, 4, 5, 6)),
        ]
        if name not in READS:
            coord, cell = torch.rand(2, 30, 2, device="cuda"), torch.rand(2, 1, 2, device="cuda")
            outputs += [net(lq, coord, cell), net(lq, coord, cell.repeat(1, 30, 1))]
    shapes = [(2, 3, 50, 41), (2, 3, 20, 30), (1, 3, 5, 6), (2, 30, 3), (2, 30, 3)]
    assert [tuple(output.shape) for output in outputs] == shapes[: len(outputs)]
    assert {output.device.type for output in outputs} == {"cuda"}
