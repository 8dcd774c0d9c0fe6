"""Multiply-adds agree with the shapes of the layers."""
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from liif_basicsr.archs import build_network
from liif_basicsr.evaluation.cost import _fused_operators, multiply_adds

ENCODER = {"type": "EDSR", "num_feat": 8, "num_block": 2}
ENCODER_COST = 9 * (3 * 8 + 5 * 8 * 8)


@pytest.mark.parametrize("scale", [1, 2, 3.5])
def test_liif_costs_its_layers(scale):
    """The first layer is a convolution at low resolution; the others run for four corners of each pixel."""
    net = build_network({"type": "LIIF", "encoder": ENCODER, "hidden_dims": [16, 12]})
    expected = (ENCODER_COST + 9 * 8 * 16) / scale**2 + 4 * (16 * 12 + 12 * 3)
    assert multiply_adds(net, (scale, scale)) == pytest.approx(expected, rel=1e-6)


def test_continuous_shuffle_costs_its_layers():
    net = build_network({"type": "ContinuousShuffleSR", "encoder": ENCODER, "num_feat": 16, "num_layer": 2})
    low = ENCODER_COST + 9 * 8 * 16 + 2 * 16 * 16 + 16 * 192
    # The coefficients and the bilinearly upsampled input are contracted along y first, once per column of features,
    # then along x. Each output is a sum over a band of about 64 channels plus one or two features. A feature has 8
    # channels in the coefficients and 1 in the input.
    forms = (24 / 4 + 3) * (64 + 1.5 * 8) + (3 / 4 + 3) * (64 + 1.5)
    functions = 2 * 2 * 256 * (2 * 64 + 64 * 64 + 64 * 8) / 256**2  # for two features, at each row and column
    assert multiply_adds(net, (4, 4)) == pytest.approx(low / 16 + forms + functions, rel=0.03)


def test_cudas_fused_linear_layer_is_counted():
    with FlopCounterMode(display=False, custom_mapping=_fused_operators()) as counter:
        torch._addmm_activation(torch.zeros(5), torch.zeros(7, 3), torch.zeros(3, 5))
    assert counter.get_total_flops() == 2 * 7 * 3 * 5
