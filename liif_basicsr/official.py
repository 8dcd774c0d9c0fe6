"""Checkpoints of the official LIIF code (github.com/yinboc/liif) to ours, and back."""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.options import suggest

SWITCHES = ("local_ensemble", "feat_unfold", "cell_decode")
# Official encoder -> ours, and for its arguments: official name, ours, the official default.
ENCODERS: dict[str, tuple[str, list[tuple[str, str, Any]]]] = {
    "edsr-baseline": (
        "EDSR", [("n_resblocks", "num_block", 16), ("n_feats", "num_feat", 64), ("res_scale", "res_scale", 1)]
    ),
    "edsr": (
        "EDSR", [("n_resblocks", "num_block", 32), ("n_feats", "num_feat", 256), ("res_scale", "res_scale", 0.1)]
    ),
}
# Of no effect without upsampling.
IGNORED_ARGS = {"no_upsampling", "scale", "rgb_range"}


def is_official(data: Any) -> bool:
    """Whether a checkpoint is one that the official training wrote."""
    model = data.get("model") if isinstance(data, Mapping) else None
    return isinstance(model, Mapping) and {"name", "args", "sd"} <= set(model)


def from_official(data: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Convert an official checkpoint.

    Returns:
        {'params', 'network_g'}, see `liif_basicsr.checkpoint`.

    Raises:
        LIIFError: a network that this plugin does not have, or parameters that are not that network's.
    """
    model = data["model"]
    if model["name"] != "liif":
        raise LIIFError(f"{path}: an official checkpoint of {model['name']!r}, not of 'liif'")
    try:
        network = _network_from_official(model["args"])
    except (KeyError, TypeError, AttributeError) as error:
        raise LIIFError(f"{path}: an official checkpoint whose arguments cannot be read ({error!r})") from None
    net = build_network(network)
    names = {key: official_key(net, key) for key in net.state_dict()}
    missing = [name for name in names.values() if name not in model["sd"]]
    left = [n for n in model["sd"] if n not in names.values() and ".sub_mean." not in n and ".add_mean." not in n]
    if missing or left:
        raise LIIFError(f"{path}: does not hold the parameters that it says it does, such as {(missing + left)[0]}")
    return {"params": {key: model["sd"][name] for key, name in names.items()}, "network_g": network}


def _network_from_official(args: Mapping[str, Any]) -> dict[str, Any]:
    spec = args["encoder_spec"]
    if spec["name"] not in ENCODERS:
        raise LIIFError(f"official encoder {spec['name']!r} is not supported{suggest(spec['name'], ENCODERS)}")
    name, table = ENCODERS[spec["name"]]
    known = IGNORED_ARGS | {official for official, _, _ in table}
    given = spec.get("args") or {}
    if set(given) - known:
        raise LIIFError(f"official encoder {spec['name']}: argument {sorted(set(given) - known)[0]!r} is not supported")
    encoder = {"type": name, **{ours: given.get(official, default) for official, ours, default in table}}
    switches = {switch: bool(args.get(switch, True)) for switch in SWITCHES}
    return {"type": "LIIF", "encoder": encoder, "hidden_dims": list(args["imnet_spec"]["args"]["hidden_list"]), **switches}


def official_key(net: nn.Module, key: str) -> str:
    """The official name of one of our network's parameters."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return f"encoder.{net.encoder.official_key(rest)}"
    _, index, kind = rest.split(".")  # layers.1.weight; the official layers alternate with activations
    return f"imnet.layers.{2 * int(index)}.{kind}"


def to_official(checkpoint: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Convert a checkpoint of ours (see `liif_basicsr.checkpoint.read`) to one that the official code loads.

    Raises:
        LIIFError: a network that the official code does not have.
    """
    network = checkpoint["network_g"]
    net = build_network(network)
    args = {name: network[name] for name in inspect.signature(type(net)).parameters if name in network}
    spec = next((spec for spec in ENCODERS.items() if spec[1][0] == args.get("encoder", {}).get("type")), None)
    if network["type"] != "LIIF" or args.get("input_skip") or spec is None:
        raise LIIFError(f"{path}: the official code has no such network ({network})")
    official, (_, table) = spec
    encoder_args = {name: args["encoder"][ours] for name, ours, _ in table if ours in args["encoder"]}
    params = checkpoint.get("params_ema", checkpoint.get("params"))
    hidden = list(args.get("hidden_dims", (256, 256, 256, 256)))
    return {
        "model": {
            "name": "liif",
            "args": {
                "encoder_spec": {"name": official, "args": {"no_upsampling": True, **encoder_args}},
                "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": hidden}},
                **{switch: args.get(switch, True) for switch in SWITCHES},
            },
            "sd": {official_key(net, key): value for key, value in params.items()},
        }
    }
