"""Checkpoints of the official LIIF code (github.com/yinboc/liif) to ours, and back."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from liif_basicsr.archs import build_network
from liif_basicsr.utils.errors import LIIFError
from liif_basicsr.utils.options import suggest

SWITCHES = ("local_ensemble", "feat_unfold", "cell_decode")


class Official(NamedTuple):
    """An encoder of the official code: our type, its arguments as official name -> (ours, official default)."""

    type: str
    args: dict[str, tuple[str, Any]]
    configs: dict[str, dict[str, int]] = {}  # RDN: the values of `RDNconfig`, the last one the default
    mean_shift: bool = False  # has `sub_mean` and `add_mean`, which are never used


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
# Of no effect without upsampling, or of one value only.
IGNORED_ARGS = {"no_upsampling", "scale", "rgb_range", "RDNkSize", "RDNconfig", "res_scale"}


def is_official(data: Any) -> bool:
    """Whether a checkpoint is one that the official training wrote."""
    model = data.get("model") if isinstance(data, Mapping) else None
    return isinstance(model, Mapping) and {"name", "args", "sd"} <= set(model)


def from_official(data: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Convert an official checkpoint.

    Returns:
        {'params', 'network_g'}, see `liif_basicsr.hub.checkpoint`.

    Raises:
        LIIFError: a network that this plugin does not have, or parameters that are not that network's.
    """
    model = data["model"]
    if model["name"] not in ("liif", "metasr"):
        raise LIIFError(f"{path}: an official checkpoint of {model['name']!r}, not of 'liif' or 'metasr'")
    try:
        network = _network_from_official(model["name"], model["args"])
    except (KeyError, TypeError, AttributeError) as error:
        raise LIIFError(f"{path}: an official checkpoint whose arguments cannot be read ({error!r})") from None
    net = build_network(network)
    names = {key: official_key(net, key) for key in net.state_dict()}
    missing = [name for name in names.values() if name not in model["sd"]]
    left = [n for n in model["sd"] if n not in names.values() and ".sub_mean." not in n and ".add_mean." not in n]
    if missing or left:
        raise LIIFError(f"{path}: does not hold the parameters that it says it does, such as {(missing + left)[0]}")
    return {"params": {key: model["sd"][name] for key, name in names.items()}, "network_g": network}


def _network_from_official(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    spec = args["encoder_spec"]
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
    if name == "metasr":
        return {"type": "MetaSR", "encoder": encoder}
    hidden_dims = list(args["imnet_spec"]["args"]["hidden_list"])
    switches = {switch: bool(args.get(switch, True)) for switch in SWITCHES}
    return {"type": "LIIF", "encoder": encoder, "hidden_dims": hidden_dims, **switches}


def official_key(net: nn.Module, key: str) -> str:
    """The official name of one of our network's parameters."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return f"encoder.{net.encoder.official_key(rest)}"
    _, index, kind = rest.split(".")  # layers.1.weight; the official layers alternate with activations
    return f"imnet.layers.{2 * int(index)}.{kind}"


def to_official(checkpoint: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Convert a checkpoint of ours (see `liif_basicsr.hub.checkpoint.read`) to one that the official code loads.

    Raises:
        LIIFError: a network that the official code does not have.
    """
    network = checkpoint["network_g"]
    net = build_network(network)
    if network.get("input_skip"):
        raise LIIFError(f"{path}: the official code has no input_skip")
    args: dict[str, Any] = {"encoder_spec": _official_encoder(network["encoder"], path)}
    if network["type"] == "LIIF":
        hidden_dims = [layer.out_features for layer in net.decoder.layers[:-1]]
        args["imnet_spec"] = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": hidden_dims}}
        args |= {switch: network.get(switch, True) for switch in SWITCHES}
    params = checkpoint.get("params_ema", checkpoint.get("params", {}))
    sd = {official_key(net, key): value for key, value in params.items()}
    if ENCODERS[args["encoder_spec"]["name"]].mean_shift:
        sd |= _mean_shifts()
    return {"model": {"name": network["type"].lower(), "args": args, "sd": sd}}


def _mean_shifts() -> dict[str, Tensor]:
    """What the official code insists on finding, and leaves unused."""
    shift = {"weight": torch.eye(3)[:, :, None, None], "bias": torch.tensor(DIV2K_MEAN)}
    add = {f"encoder.add_mean.{key}": value for key, value in shift.items()}
    sub = {"encoder.sub_mean.weight": shift["weight"], "encoder.sub_mean.bias": -shift["bias"]}
    return {**add, **sub}


def _official_encoder(encoder: Mapping[str, Any], path: str) -> dict[str, Any]:
    for name, official in ENCODERS.items():
        args: dict[str, Any] = {key: encoder.get(ours) for key, (ours, _) in official.args.items() if ours in encoder}
        rest = set(encoder) - {"type"} - {ours for ours, _ in official.args.values()}
        for config, values in official.configs.items():
            if all(encoder.get(key, official.configs["B"][key]) == value for key, value in values.items()):
                args["RDNconfig"], rest = config, rest - set(values)
        if official.type == encoder["type"] and not rest:
            return {"name": name, "args": {"no_upsampling": True, **args}}
    raise LIIFError(f"{path}: the official code has no such encoder ({dict(encoder)})")
