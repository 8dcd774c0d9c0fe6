"""Losses are built from the options `<name>_opt` in their order, and each is called once before training."""
import pytest
import torch
from basicsr.losses import build_loss
from basicsr.models import build_model
from basicsr.utils.registry import LOSS_REGISTRY
from experiment import steps

from liif_basicsr.errors import LIIFError


@pytest.fixture
def own_loss():
    """A loss that another project registers."""

    class OwnLoss(torch.nn.Module):
        inputs = ("output", "cell")

        def __init__(self, factor=1.0):
            super().__init__()
            self.factor = factor

        def forward(self, output, cell):
            return self.factor * cell.mean(), output.mean()

    LOSS_REGISTRY.register(OwnLoss)
    yield
    del LOSS_REGISTRY._obj_map["OwnLoss"]


def test_losses_are_in_the_order_of_the_options(opt):
    opt["train"] = {"edge_opt": {"type": "CharbonnierLoss"}, **opt["train"], "sharp_opt": {"type": "MSELoss"}}
    model = build_model(opt)
    steps(model, 1)
    assert list(model.get_current_log()) == ["l_edge", "l_pix", "l_sharp"]
    output, gt = model.output.detach(), model.gt
    assert model.get_current_log()["l_sharp"] == pytest.approx((output - gt).square().mean().item(), rel=1e-5)
    expected = build_loss({"type": "CharbonnierLoss"})(output, gt).item()
    assert model.get_current_log()["l_edge"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_chooses_its_inputs_and_may_return_several_values(opt, own_loss):
    opt["train"]["own_opt"] = {"type": "OwnLoss", "factor": 3.0}
    model = build_model(opt)
    steps(model, 1)
    log = model.get_current_log()
    assert log["l_own_1"] == pytest.approx(3 * 2 / 12, rel=1e-5)
    assert log["l_own_2"] == pytest.approx(model.output.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "L1Loss", "reduction": "none"}, "train: pixel_opt: "),
        ({"type": "CharbonnierLoss", "eps": "1e-12"}, "train: pixel_opt: "),
        ({"type": "L1Loss", "loss_weight": "1e-2"}, "train: pixel_opt: loss_weight: expected a number"),
        ({"type": "L1Loss", "loss_weight": -1}, "train: pixel_opt: loss_weight: expected a number of at least 0"),
        ({"type": "L1Loss", "weight": 1}, "train: pixel_opt: "),
        ({"loss_weight": 1}, "train: pixel_opt: "),
        ("L1Loss", "train: pixel_opt: expected a block"),
        ({"type": "WeightedTVLoss"}, "train: pixel_opt: "),
    ],
    ids=str,
)
def test_a_loss_that_cannot_be_computed_is_an_error(opt, block, message):
    opt["train"]["pixel_opt"] = block
    with pytest.raises(LIIFError, match=message) as error:
        build_model(opt)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["gan_opt", "ldl_opt"])
def test_options_of_other_models_are_not_losses(opt, name):
    opt["train"][name] = {"type": "L1Loss"}
    with pytest.raises(LIIFError, match=f"train: .*{name}"):
        build_model(opt)
