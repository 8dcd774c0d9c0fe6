"""Convert official checkpoints to ours and back.

LIIF and MetaSR: github.com/yinboc/liif; LTE: github.com/jaewon-lee-b/lte; LM-LIIF: github.com/HeZongyao/LMF; SRNO:
github.com/2y7c3/Super-Resolution-Neural-Operator. All use the same format, `{'model': {'name', 'args', 'sd'}}`, and
the same encoders.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError, suggest

# Official name -> our name.
NETWORKS = {"liif": "LIIF", "metasr": "MetaSR", "lte": "LTE", "lmliif": "LMLIIF", "sronet": "SRNO"}
SWITCHES = ("local_ensemble", "feat_unfold", "cell_decode")
# When testing, the official LTE, LM-LIIF and SRNO use the cells of this scale, the largest in training, at all larger
# scales.
MAX_SCALE = 4
# Our name of a part of a decoder -> the official name.
PARTS = {"layers": "imnet.layers", "latent": "hypernet.layers"}
# The same for SRNO. Its official layers are 1x1 convolutions, and its normalizations have an additional axis of size 1.
LAYERS = {"qkv": "qkv_proj", "norm_k": "kln", "norm_v": "vln", "fc1": "o_proj1", "fc2": "o_proj2"}
SRNO_PARTS = {
    **{"lift": "conv00", "project.0": "fc1", "project.1": "fc2"},
    **{f"attention.{k}.{ours}": f"conv{k}.{official}" for k in (0, 1) for ours, official in LAYERS.items()},
}
# Number of input features of the official SRNO's last layer.
SRNO_HIDDEN_DIM = 256


class Official(NamedTuple):
    """An official encoder, and how it corresponds to ours.

    Attributes:
        type: our name of the encoder.
        args: official name of an argument -> (our name, official default).
        configs: for RDN, value of the official argument `RDNconfig` -> our arguments. The last one is the default.
        mean_shift: whether the official encoder has `sub_mean` and `add_mean`. It never uses them.
    """

    type: str
    args: dict[str, tuple[str, Any]]
    configs: dict[str, dict[str, int]] = {}
    mean_shift: bool = False


ENCODERS = {
    "edsr-baseline": Official(
        "EDSR",
        {"n_resblocks": ("num_block", 16), "n_feats": ("num_feat", 64), "res_scale": ("res_scale", 1)},
        mean_shift=True,
    ),
    "edsr": Official(
        "EDSR",
        {"n_resblocks": ("num_block", 32), "n_feats": ("num_feat", 256), "res_scale": ("res_scale", 0.1)},
        mean_shift=True,
    ),
    "rdn": Official(
        "RDN",
        {"G0": ("num_feat", 64)},
        {
            "A": {"num_block": 20, "num_layer": 6, "num_grow_ch": 32},
            "B": {"num_block": 16, "num_layer": 8, "num_grow_ch": 64},
        },
    ),
    "rcan": Official(
        "RCAN",
        {
            "n_resgroups": ("num_group", 10),
            "n_resblocks": ("num_block", 20),
            "n_feats": ("num_feat", 64),
            "reduction": ("squeeze_factor", 16),
        },
        mean_shift=True,
    ),
}
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
# Official arguments that have no effect without upsampling, have only one possible value, or are handled separately.
IGNORED_ARGS = {"no_upsampling", "scale", "rgb_range", "RDNkSize", "RDNconfig", "res_scale"}


def from_official(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an official checkpoint.

    Returns:
        {'params', 'network_g'}, see `liif_basicsr.hub.checkpoint`.

    Raises:
        LIIFError: the plugin does not have this network, or the parameters do not fit the network.
    """
    model = data["model"]
    if model["name"] not in NETWORKS:
        known = " or ".join(map(repr, NETWORKS))
        raise LIIFError(f"unsupported official network: expected {known}, got {model['name']!r}")
    try:
        network = _network_from_official(NETWORKS[model["name"]], model["args"])
    except (KeyError, TypeError, AttributeError) as error:
        raise LIIFError(f"official checkpoint whose arguments cannot be read ({error!r})") from None
    net = build_network(network)
    names = {key: official_key(net, key) for key in net.state_dict()}
    missing = [name for name in names.values() if name not in model["sd"]]
    left = [n for n in model["sd"] if n not in names.values() and ".sub_mean." not in n and ".add_mean." not in n]
    if missing or left:
        raise LIIFError(f"its parameters do not match its arguments, for example {(missing + left)[0]}")
    params = {key: model["sd"][name] for key, name in names.items()}
    if network["type"] == "SRNO":
        own = net.state_dict()
        params = {key: x.view_as(own[key]) if x.numel() == own[key].numel() else x for key, x in params.items()}
    return {"params": params, "network_g": network}


def _network_from_official(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `network_g` block of an official network; `name` is our name of the network."""
    network: dict[str, Any] = {"type": name, "encoder": _encoder_from_official(args["encoder_spec"])}
    if name == "MetaSR":
        return network
    if name == "SRNO":
        width, num_heads = args.get("width", 256), args.get("blocks", 16)
        return {**network, "width": width, "num_heads": num_heads, "max_scale": MAX_SCALE}
    render = args["imnet_spec"]["args"]
    if name == "LTE":
        num_freq = args.get("hidden_dim", 256) // 2
        return {**network, "hidden_dims": list(render["hidden_list"]), "num_freq": num_freq, "max_scale": MAX_SCALE}
    network |= {switch: bool(args.get(switch, True)) for switch in SWITCHES}
    if name == "LIIF":
        return {**network, "hidden_dims": list(render["hidden_list"])}
    return {
        **network,
        "latent_dims": list(args["hypernet_spec"]["args"]["hidden_list"]),
        "render_dim": render["hidden_dim"],
        "render_depth": render["hidden_depth"],
        "mod_input": bool(args.get("mod_input", False)),
        "mod_scale": bool(render["mod_scale"]),
        "mod_shift": bool(render["mod_shift"]),
        "max_scale": MAX_SCALE,
    }


def _encoder_from_official(spec: Mapping[str, Any]) -> dict[str, Any]:
    if spec["name"] not in ENCODERS:
        raise LIIFError(f"official encoder {spec['name']!r} is not supported{suggest(spec['name'], ENCODERS)}")
    known = ENCODERS[spec["name"]]
    given = spec.get("args") or {}
    foreign = set(given) - set(known.args) - IGNORED_ARGS
    if foreign:
        raise LIIFError(f"official encoder {spec['name']}: argument {min(foreign)!r} is not supported")
    encoder = {"type": known.type, **{ours: given.get(key, default) for key, (ours, default) in known.args.items()}}
    if known.configs:
        encoder |= known.configs[given.get("RDNconfig", list(known.configs)[-1])]
    return encoder


def official_key(net: nn.Module, key: str) -> str:
    """Return the official name of a parameter of our network."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return f"encoder.{net.encoder.official_key(rest)}"
    module, _, kind = rest.rpartition(".")
    if module in SRNO_PARTS:
        return f"{SRNO_PARTS[module]}.{kind}"
    part, *index, kind = rest.split(".")
    if not index:
        return rest
    return f"{PARTS[part]}.{2 * int(index[0])}.{kind}"  # every second official layer is an activation


def to_official(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Convert our checkpoint (see `liif_basicsr.hub.checkpoint.read`) to one that the official code can load.

    Raises:
        LIIFError: the official code does not have such a network.
    """
    network = checkpoint["network_g"]
    net: Any = build_network(network)
    if (net.num_in_ch, net.num_out_ch) != (3, 3):
        raise LIIFError(f"official networks take and return 3 channels, but this network takes "
                        f"{net.num_in_ch} and returns {net.num_out_ch}")  # fmt: skip
    names = {ours: name for name, ours in NETWORKS.items()}
    if network["type"] not in names:
        raise LIIFError(f"{network['type']} has no official format; only {', '.join(names)} can be converted")
    input_skip = "bilinear" if network["type"] in ("LTE", "SRNO") else None
    if net.input_skip != input_skip:
        raise LIIFError(f"the official {network['type']} requires input_skip: {input_skip or '~'}, but this "
                        f"network has {net.input_skip or '~'}")  # fmt: skip
    args = {"encoder_spec": _official_encoder(network["encoder"]), **_official_decoder(net)}
    params = checkpoint.get("params_ema", checkpoint.get("params", {}))
    if network["type"] == "SRNO":
        if net.decoder.project[0].out_features != SRNO_HIDDEN_DIM:
            raise LIIFError(f"the official SRNO requires hidden_dim: {SRNO_HIDDEN_DIM}, but this network has "
                            f"{net.decoder.project[0].out_features}")  # fmt: skip
        params = {key: _official_srno_shape(key, value) for key, value in params.items()}
    sd = {official_key(net, key): value for key, value in params.items()}
    if ENCODERS[args["encoder_spec"]["name"]].mean_shift:
        sd |= _mean_shifts()
    return {"model": {"name": names[network["type"]], "args": args, "sd": sd}}


def _official_decoder(net: Any) -> dict[str, Any]:
    """Return the official arguments of a decoder."""
    name, decoder = type(net).__name__, net.decoder
    if name == "MetaSR":
        return {}
    if name == "SRNO":
        return {"width": decoder.lift.out_features, "blocks": decoder.attention[0].num_heads}
    hidden_dims = [layer.out_features for layer in decoder.layers[:-1]]
    plain = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": hidden_dims}}
    if name == "LTE":
        return {"imnet_spec": plain, "hidden_dim": 2 * decoder.num_freq}
    switches = {
        "local_ensemble": len(decoder.sides) > 1,
        "feat_unfold": decoder.prepare_halo > 0,
        "cell_decode": decoder.cell_decode,
    }
    if name == "LIIF":
        return {"imnet_spec": plain, **switches}
    render = {"out_dim": 3, "hidden_dim": decoder.render_dim, "hidden_depth": decoder.render_depth}
    render |= {"mod_scale": decoder.mod_scale, "mod_shift": decoder.mod_shift}
    *latent_dims, num_latent = [layer.out_features for layer in decoder.latent]
    return {
        "imnet_spec": {"name": "lmmlp", "args": render},
        "hypernet_spec": {"name": "mlp", "args": {"out_dim": num_latent, "hidden_list": latent_dims}},
        **switches,
        "mod_input": decoder.mod_input,
    }


def _official_srno_shape(key: str, value: Tensor) -> Tensor:
    if key.startswith("encoder."):
        return value
    if ".norm_" in key:
        return value[:, None]
    return value[:, :, None, None] if value.ndim == 2 else value


def _mean_shifts() -> dict[str, Tensor]:
    """Return parameters that the official code requires but never uses."""
    shift = {"weight": torch.eye(3)[:, :, None, None], "bias": torch.tensor(DIV2K_MEAN)}
    add = {f"encoder.add_mean.{key}": value for key, value in shift.items()}
    sub = {"encoder.sub_mean.weight": shift["weight"], "encoder.sub_mean.bias": -shift["bias"]}
    return {**add, **sub}


def _official_encoder(encoder: Mapping[str, Any]) -> dict[str, Any]:
    for name, official in ENCODERS.items():
        args: dict[str, Any] = {key: encoder.get(ours) for key, (ours, _) in official.args.items() if ours in encoder}
        rest = set(encoder) - {"type"} - {ours for ours, _ in official.args.values()}
        for config, values in official.configs.items():
            if all(encoder.get(key, official.configs["B"][key]) == value for key, value in values.items()):
                args["RDNconfig"], rest = config, rest - set(values)
        if official.type == encoder["type"] and not rest:
            return {"name": name, "args": {"no_upsampling": True, **args}}
    raise LIIFError(f"the official code does not have this encoder: {dict(encoder)}")
