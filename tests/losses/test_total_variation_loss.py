"""TotalVariationLoss in training, and errors for networks without spatial gradients and data without coordinates."""
from __future__ import annotations

from typing import Any

import pytest
import torch
from basicsr.models import build_model
from experiment import NETWORK, steps

from liif_basicsr.errors import LIIFError

THERA = {"type": "Thera", "encoder": NETWORK["encoder"], "num_freq": 4}


def test_the_loss_is_the_mean_gradient_and_trains_the_field(opt: dict[str, Any]) -> None:
    opt["network_g"] = THERA
    opt["train"]["tv_opt"] = {"type": "TotalVariationLoss", "loss_weight": 0.5}
    model = build_model(opt)
    before = model.net_g.decoder.freq.detach().clone()
    steps(model, 1)
    batch = model.batch
    assert batch["gradient"].shape == (*batch["gt"].shape, 2)
    assert model.get_current_log()["l_tv"] == pytest.approx(0.5 * batch["gradient"].abs().mean().item(), rel=1e-5)
    assert not torch.equal(model.net_g.decoder.freq, before)


def test_other_networks_have_no_gradient(opt: dict[str, Any]) -> None:
    opt["train"]["tv_opt"] = {"type": "TotalVariationLoss"}
    message = "train: tv_opt: TotalVariationLoss needs a network that returns gradients, but network_g "
    with pytest.raises(LIIFError, match=message + "is LIIF; use Thera, or remove"):
        build_model(opt)


def test_datasets_need_coordinates(opt: dict[str, Any]) -> None:
    opt["network_g"] = THERA
    opt["train"]["tv_opt"] = {"type": "TotalVariationLoss"}
    del opt["datasets"]["train"]["sample_q"]
    with pytest.raises(LIIFError, match="train: tv_opt: TotalVariationLoss needs coordinates"):
        build_model(opt)
