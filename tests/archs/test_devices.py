"""Networks on a GPU, as far as that can be held without one: shapes and devices of faked tensors.

Every operation must be on one device, and nothing in the way of an image may wait for a value on it. Backward cannot be
faked without a driver.
"""
import pytest
import torch
from test_decoders import NETWORKS, small_network
from torch._subclasses.fake_tensor import FakeTensorMode

from liif_basicsr.plugin.versions import numbers

pytestmark = pytest.mark.skipif(
    numbers(torch.__version__) < [2, 6], reason="this torch needs a driver even for what is faked"
)
# Their queries read one value back: as many pixels are resampled as the largest cell asks for.
READS = {"PixelShuffleSR", "FixedScaleSR"}


def on_fake_gpu(net: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """A network whose parameters are faked on a GPU; to be called within FakeTensorMode."""
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
def test_images_and_queries_stay_on_their_device_and_wait_for_nothing(name, skip, dtype):
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
