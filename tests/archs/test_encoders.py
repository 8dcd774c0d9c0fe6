"""Every encoder fulfills the contract described in `liif_basicsr.archs.encoders`."""
import pytest
import torch
import torch.nn.functional as F

from liif_basicsr.archs.encoders import build_encoder, list_encoders
from liif_basicsr.archs.liif_arch import LIIF
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.memory import Tiling

# BasicSR's SwinIR calls meshgrid without `indexing`.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")

IO = {"num_in_ch": 3, "num_out_ch": 3}
SWIN = {"img_size": 16, "window_size": 4, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3]}


def tapped(name, **kwargs):
    return {"type": "BasicSRArch", "arch": {"type": name, **kwargs}}


CASES = {
    "EDSR": {"type": "EDSR", "num_feat": 6, "num_block": 2},
    "RDN": {"type": "RDN", "num_feat": 6, "num_block": 2, "num_layer": 3, "num_grow_ch": 4},
    "RCAN": {"type": "RCAN", "num_feat": 8, "num_group": 2, "num_block": 2, "squeeze_factor": 2},
    "ConvNeXt": {"type": "ConvNeXt", "dims": [6, 6, 8]},
    "RRDBNet": {"type": "RRDBNet", "num_feat": 6, "num_block": 1, "num_grow_ch": 4},
    "SwinIR": {"type": "SwinIR", **SWIN, "mlp_ratio": 1.5},
    "SwinIRTail": {"type": "SwinIRTail", **{key: value for key, value in SWIN.items() if key != "img_size"}},
    "BasicSRArch-EDSR": tapped("EDSR", **IO, num_feat=6, num_block=2, img_range=1) | {"receptive_radius": 6},
    "BasicSRArch-RCAN": tapped("RCAN", **IO, num_feat=8, num_group=1, num_block=2, squeeze_factor=2, img_range=1),
    "BasicSRArch-RRDBNet": tapped("RRDBNet", **IO, num_feat=6, num_block=1, num_grow_ch=4) | {"receptive_radius": 17},
    "BasicSRArch-SRResNet": tapped("MSRResNet", num_feat=6, num_block=2) | {"receptive_radius": 5},
    "BasicSRArch-SRResNet-x3": tapped("MSRResNet", num_feat=6, num_block=2, upscale=3),
    "BasicSRArch-SwinIR": tapped("SwinIR", **SWIN, upsampler="pixelshuffle"),
    "BasicSRArch-SwinIR-nearest": tapped("SwinIR", **SWIN, upsampler="nearest+conv", upscale=4),
}
SIZES = [(1, 1), (1, 7), (5, 3), (17, 23), (33, 40)]


@pytest.fixture(params=CASES)
def spec(request):
    torch.manual_seed(0)
    return CASES[request.param]


def test_every_encoder_is_covered():
    assert {case["type"] for case in CASES.values()} == set(list_encoders())


def test_output_shape_and_unmodified_input(spec):
    encoder = build_encoder(spec).eval()
    for size in SIZES:
        x = torch.rand(2, 3, *size) * 2 - 1
        before = x.clone()
        with torch.no_grad():
            features = encoder(x)
        assert features.shape == (2, encoder.out_channels, *size)
        assert torch.equal(x, before)
        assert features.isfinite().all()


def test_every_parameter_gets_a_gradient(spec):
    encoder = build_encoder(spec).train()
    encoder(torch.rand(2, 3, 9, 11) * 2 - 1).square().mean().backward()
    for name, param in encoder.named_parameters():
        assert param.grad is not None and param.grad.isfinite().all(), name  # noqa: PT018


def test_receptive_radius_is_exact(spec):
    encoder = build_encoder(spec).eval()
    radius = encoder.receptive_radius
    if radius is None:
        pytest.skip("unbounded receptive field")
    distance = (torch.arange(2 * radius + 5) - (radius + 2)).abs()
    x = torch.zeros(1, 3, 3, len(distance))
    x[..., 1, radius + 2] = torch.nan  # spreads to every dependent feature, even through inactive ReLUs
    with torch.no_grad():
        for features in (encoder(x), encoder(x.mT).mT):
            assert torch.equal(features.isnan().any(1).any(1)[0], distance <= radius)


def test_tiling_is_exact(spec):
    net, lq = LIIF(spec, hidden_dims=[8]).eval(), torch.rand(1, 3, 29, 50)
    whole = net.render(lq, (41, 83))
    net.tiling = Tiling(tile=11)
    torch.testing.assert_close(net.render(lq, (41, 83)), whole, rtol=0, atol=1e-5)


def test_loaded_weights_and_memory_format_keep_the_output(spec):
    one, two = build_encoder(spec).eval(), build_encoder(spec).eval()
    two.load_state_dict(one.state_dict())
    x = torch.rand(2, 3, 9, 10)
    with torch.no_grad():
        torch.testing.assert_close(one(x), two(x.contiguous(memory_format=torch.channels_last)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec, count", [
    ({"type": "EDSR"}, 1_567_299),
    ({"type": "RDN"}, 22_320_835),
    ({"type": "RCAN"}, 15_642_083),
])
def test_number_of_parameters(spec, count):
    # The paper reports 1.57M and 22.3M. It does not report RCAN; that number is from the official code.
    assert sum(p.numel() for p in LIIF(spec).parameters()) == count


def test_rrdbnet_equals_basicsrs_trunk_with_its_parameters():
    ours = build_encoder({"type": "RRDBNet", "num_feat": 6, "num_block": 2, "num_grow_ch": 4}).eval()
    theirs = build_encoder(tapped("RRDBNet", **IO, num_feat=6, num_block=2, num_grow_ch=4)).eval()
    theirs.arch.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 9, 11) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_convnext_block_equals_its_formula():
    block = build_encoder({"type": "ConvNeXt", "dims": [6]}, 6).double().layers[0]
    x = 0.01 * torch.randn(1, 6, 5, 4, dtype=torch.float64)  # small enough for the norm's epsilon to matter
    y = F.conv2d(x, block.depthwise.weight, padding=1, groups=6).movedim(1, -1)
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    hidden = y @ block.expand.linear.weight.T + block.expand.linear.bias
    hidden = hidden / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (hidden + 0.044715 * hidden**3)))
    y = hidden @ block.contract.weight.T + block.contract.bias
    torch.testing.assert_close(block(x), x + y.movedim(-1, 1))


@pytest.mark.parametrize("spec, official", [
    ({"type": "RDN"}, {"conv_first.weight": "SFENet1.weight", "body.3.convs.2.bias": "RDBs.3.convs.2.conv.0.bias",
                       "body.0.local_fusion.bias": "RDBs.0.LFF.bias", "global_fusion.bias": "GFF.0.bias",
                       "conv_second.bias": "SFENet2.bias", "conv_after_body.weight": "GFF.1.weight"}),
    ({"type": "RCAN"}, {"conv_first.weight": "head.0.weight", "conv_after_body.bias": "body.10.bias",
                        "body.2.blocks.7.conv2.bias": "body.2.body.7.body.2.bias",
                        "body.2.blocks.7.conv1.bias": "body.2.body.7.body.0.bias",
                        "body.9.conv.bias": "body.9.body.20.bias",
                        "body.0.blocks.0.attention.squeeze.weight": "body.0.body.0.body.3.conv_du.0.weight",
                        "body.0.blocks.0.attention.excite.weight": "body.0.body.0.body.3.conv_du.2.weight"}),
])
def test_official_names(spec, official):
    encoder = build_encoder(spec)
    names = {key: encoder.official_key(key) for key in encoder.state_dict()}
    assert names | official == names
    assert len(set(names.values())) == len(names)


def test_rdn_equals_the_paper():
    encoder = build_encoder(CASES["RDN"])
    weights = {encoder.official_key(name): param for name, param in encoder.state_dict().items()}

    def conv(name, x):
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    x = torch.rand(1, 3, 7, 9)
    first = conv("SFENet1", x)
    outputs = [conv("SFENet2", first)]
    for block in range(2):
        seen = [outputs[-1]]
        for layer in range(3):
            seen.append(conv(f"RDBs.{block}.convs.{layer}.conv.0", torch.cat(seen, 1)).relu())
        outputs.append(outputs[-1] + conv(f"RDBs.{block}.LFF", torch.cat(seen, 1)))
    plain = first + conv("GFF.1", conv("GFF.0", torch.cat(outputs[1:], 1)))
    torch.testing.assert_close(encoder(x), plain)


@pytest.mark.parametrize("name", ["EDSR", "RCAN"])
def test_encoder_equals_basicsr(name):
    sizes = {key: value for key, value in CASES[name].items() if key != "type"}
    other = build_encoder(tapped(name, **IO, **sizes, img_range=1, rgb_mean=[0, 0, 0]))
    encoder = build_encoder(CASES[name])
    ours, theirs = encoder.state_dict(), other.state_dict()
    assert [p.shape for p in ours.values()] == [p.shape for p in theirs.values()]
    encoder.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    x = torch.rand(1, 3, 7, 9)
    torch.testing.assert_close(encoder(x), other(x * 2 - 1))


def test_windows_are_padded_by_reflection():
    encoder = build_encoder(CASES["SwinIR"]).eval()
    x = torch.rand(1, 3, 13, 10)
    whole = F.pad(x, (0, 2, 0, 3), mode="reflect")
    torch.testing.assert_close(encoder(x), encoder(whole)[:, :, :13, :10])


def test_tapped_features_equal_the_upsampler_input():
    encoder = build_encoder(CASES["BasicSRArch-RRDBNet"])
    from basicsr.archs.rrdbnet_arch import RRDBNet

    net = RRDBNet(**IO, num_feat=6, num_block=1, num_grow_ch=4)
    missing = net.load_state_dict(encoder.arch.state_dict(), strict=False)
    assert missing.missing_keys == [f"{name}.{kind}" for name in ("conv_up1", "conv_up2", "conv_hr", "conv_last")
                                    for kind in ("weight", "bias")]
    lq = torch.rand(1, 3, 7, 9)
    shallow = net.conv_first(lq)
    torch.testing.assert_close(encoder((lq - 0.5) / 0.5), shallow + net.conv_body(net.body(shallow)))


def test_any_module_as_tap():
    shallow = build_encoder(CASES["BasicSRArch-EDSR"] | {"tap": "body.1", "receptive_radius": None})
    assert [name for name, _ in shallow.arch.named_parameters()] == [
        f"{layer}.{kind}" for layer in ("conv_first", "body.0.conv1", "body.0.conv2") for kind in ("weight", "bias")
    ]


@pytest.mark.parametrize("spec, says", [
    (tapped("RRDNet"), "unknown architecture 'RRDNet'; did you mean 'RRDBNet'"),
    ({"type": "BasicSRArch", "arch": {}}, "unknown architecture 'None'"),
    ({"type": "BasicSRArch", "arch": "EDSR"}, "arch: expected a block"),
    (tapped("RRDBNet"), "arch RRDBNet: missing .*num_in_ch"),
    (tapped("RRDBNet", **IO, num_feats=3), "arch RRDBNet: .*num_feats"),
    (tapped("RRDBNet", **IO, num_feat=4, num_block=1, scale=2), r"tap 'conv_up1' has the shape \(1, 4, 8, 12\) for"),
    (tapped("SwinIR", **SWIN), "no module has .* usual name; set tap to .* module, one of: conv_first, .*conv_last"),
    (tapped("SwinIR", **SWIN) | {"tap": "norm"}, r"tap 'norm' has the shape \(1, 384, 12\)"),
    (tapped("BasicVSR"), r"BasicVSR: fails on an image of size \(\d+, \d+\): \w+Error: "),
    (CASES["BasicSRArch-EDSR"] | {"tap": "upsampel"}, "no module 'upsampel'; did you mean 'upsample'.*conv_last"),
    (CASES["BasicSRArch-EDSR"] | {"tap": "conv_last"}, r"tap 'conv_last' has the shape \(1, 6, 64, 96\)"),
    (CASES["BasicSRArch-EDSR"] | {"tap": "conv_first"}, "no module before tap 'conv_first' has parameters"),
    (CASES["BasicSRArch-SwinIR"] | {"receptive_radius": 30}, "receptive field is unbounded, because .* windows; leave"),
    (CASES["BasicSRArch-RRDBNet"] | {"receptive_radius": 16}, "receptive_radius: 16 is too small"),
    (CASES["BasicSRArch-RCAN"] | {"receptive_radius": 99}, "receptive_radius: 99 is too small"),
    ({"type": "RCAN", "num_feat": 8}, r"squeeze_factor: expected at most num_feat \(8\), got 16"),
    ({"type": "SwinIR", "img_size": 50}, r"img_size: expected a multiple of window_size \(8\).* 16, got 50"),
    ({"type": "SwinIR", "img_size": 8}, r"img_size: expected a multiple of window_size \(8\).* 16, got 8"),
    ({"type": "SwinIR", "num_heads": [6]}, "depths: expected as many"),
    ({"type": "SwinIR", "embed_dim": 64}, "embed_dim: expected a multiple"),
    ({"type": "SwinIR", "resi_connection": "2conv"}, "resi_connection: expected one of 1conv, 3conv"),
    ({"type": "SwinIR", "drop_path_rate": 1.0}, "drop_path_rate: expected a number of at least 0 and below 1, got 1.0"),
    ({"type": "SwinIR", "mlp_ratio": 0.0}, "mlp_ratio: expected a number above 0 and of at most 10000, got 0.0"),
    ({"type": "RDN", "num_layers": 3}, "did you mean 'num_layer'"),
    ({"type": "Swin"}, "did you mean 'SwinIR'"),
])
def test_invalid_arguments(spec, says):
    with pytest.raises(LIIFError, match=says) as caught:
        build_encoder(spec)
    assert "\n" not in str(caught.value)
