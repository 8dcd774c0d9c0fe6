"""Pixels grouped by feature, and back."""
import torch
from hypothesis import given
from hypothesis import strategies as st

from liif_basicsr.rendering.feature_mlps import from_slots, sort_by_feature

axes = st.integers(1, 2).flatmap(
    lambda sides: st.integers(1, 12).flatmap(
        lambda n: st.lists(st.lists(st.integers(3, 8), min_size=n, max_size=n), min_size=sides, max_size=sides)
    )
)


@given(index=axes)
def test_every_coordinate_has_one_slot_per_feature(index):
    index = torch.tensor(index)
    rel = torch.arange(1, index.numel() + 1).float().view(index.shape)
    feature, slots, place = sort_by_feature(*(tensor.numpy(force=True) for tensor in (index, rel)), index.device)
    assert torch.equal(feature, index.unique())
    assert place.unique().numel() == index.numel()
    assert torch.equal(feature[place // slots.shape[1]], index)
    assert torch.equal(slots.flatten()[place], rel)
    assert (slots != 0).sum(1).max() == slots.shape[1] and (slots != 0).sum() == index.numel()


@given(rows=axes, cols=axes)
def test_from_slots_inverts_the_grouping(rows, cols):
    rows, cols = torch.tensor(rows), torch.tensor(cols)
    y, x = (
        sort_by_feature(index.numpy(force=True), index.float().numpy(force=True), index.device)
        for index in (rows, cols)
    )
    values = torch.stack(
        torch.broadcast_tensors(y.rel[:, None, :, None], x.rel[None, :, None], torch.ones(())), dim=-1
    )
    back = from_slots(values, y, x)
    expected = torch.broadcast_tensors(rows[:, None, :, None], cols[None, :, None], torch.ones(()))
    assert torch.equal(back, torch.stack(expected, dim=-1))
