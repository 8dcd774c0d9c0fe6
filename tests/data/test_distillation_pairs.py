"""Distillation pairs do not depend on interruptions, and are checked against the options of a dataset."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from datafiles import build, paired_train_block, refused, save
from experiment import NETWORK

from liif_basicsr.archs import build_network
from liif_basicsr.data.decode import to_image_tensor
from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.distillation_pairs import KINDS, check_record, read_record
from liif_basicsr.data.prepare.distillation import DistillationPairs, make_pairs, with_colors_of
from liif_basicsr.data.sampling import downsample
from liif_basicsr.data.source import open_source
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.hub.teacher import Teacher


class Doubler:
    """A teacher that repeats pixels and is interrupted at call number `stop_at`."""

    scale = 2

    def __init__(self, stop_at: int | None = None, name: str = "doubler") -> None:
        self.stop_at, self.calls, self.record = stop_at, 0, {"teacher": name}

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        return lq.repeat(2, 1).repeat(2, 2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for k, size in enumerate([(40, 60), (30, 90), (10, 10)]):
        save(tmp_path / "photos" / f"{k}.png", np.uint8(rng.integers(0, 256, (*size, 3))))
    return tmp_path / "photos"


def pairs_of(photos: Path, teacher: Any = None, **changes: Any) -> DistillationPairs:
    settings = {"degradation": Degradation("jpeg:50"), "lq_size": 8, "seed": 0, **changes}
    return DistillationPairs(open_source(str(photos), "disk"), teacher or Doubler(), **settings)


def contents(folder: Path) -> dict[str, Any]:
    """Return all entries and meta files of a folder of pairs."""
    found: dict[str, Any] = {"record": read_record(folder)}
    for kind in KINDS:
        with lmdb.open(str(folder / f"{kind}.lmdb"), readonly=True, lock=False) as env, env.begin() as transaction:
            found |= {f"{kind} {bytes(key).decode()}": bytes(value) for key, value in transaction.cursor()}
        found[f"{kind} list"] = (folder / f"{kind}.lmdb" / "meta_info.txt").read_text()
    return found


def test_contents_of_pairs(tmp_path, photos):
    made_with = pairs_of(photos)
    assert make_pairs(made_with, tmp_path / "pairs", 12, processes=1) == 12
    lq, taught, gt = (open_source(str(tmp_path / "pairs" / f"{kind}.lmdb"), "lmdb") for kind in KINDS)
    assert len(lq) == len(taught) == len(gt) == 12 and lq.names == taught.names == gt.names
    originals = [made_with.photos.read(index) for index in (0, 1)]
    for index in range(12):
        assert lq.read(index).shape == (8, 8, 3) and gt.read(index).shape == (16, 16, 3)
        assert np.array_equal(taught.read(index), lq.read(index).repeat(2, 0).repeat(2, 1))
        assert any(holds(original, gt.read(index)) for original in originals)
        assert np.array_equal(made_with.degradation(gt.read(index), (8, 8), 0), lq.read(index))  # it needs no seed


def test_clean_inputs_have_original_targets(tmp_path, photos):
    half_clean = Degradation({"type": "jpeg", "clean_prob": 0.5})
    make_pairs(pairs_of(photos, degradation=half_clean), tmp_path / "pairs", 20, processes=1)
    lq, taught, gt = (open_source(str(tmp_path / "pairs" / f"{kind}.lmdb"), "lmdb") for kind in KINDS)
    clean = [np.array_equal(lq.read(index), downsample(gt.read(index), (8, 8))) for index in range(20)]
    assert 3 < sum(clean) < 17
    for index in range(20):
        target = gt.read(index) if clean[index] else lq.read(index).repeat(2, 0).repeat(2, 1)
        assert np.array_equal(taught.read(index), target)


def test_plain_images_bypass_the_teacher(tmp_path, photos):
    """Pairs that are not plain still use the teacher."""
    make_pairs(pairs_of(photos, plain=0.4, lq_size=12), tmp_path / "pairs", 60, processes=1)
    lq, taught, gt = (open_source(str(tmp_path / "pairs" / f"{kind}.lmdb"), "lmdb") for kind in KINDS)
    flat = gradient = 0
    for index in range(60):
        image = gt.read(index).astype(float)
        curvature = max(np.abs(np.diff(image, 2, axis)).max() for axis in (0, 1))
        if curvature > 30:  # a crop of a noise image, not a plain one
            assert np.array_equal(taught.read(index), lq.read(index).repeat(2, 0).repeat(2, 1))
            continue
        assert np.array_equal(taught.read(index), gt.read(index))
        varies = bool(np.ptp(image, (0, 1)).any())
        flat, gradient = flat + (not varies), gradient + varies
    assert min(flat, gradient) > 3 and flat + gradient < 36


def test_targets_have_the_inputs_colors_and_the_teachers_details():
    rng = np.random.default_rng(0)
    lq = np.uint8(rng.integers(60, 180, (40, 50, 3)))
    made = lq.repeat(4, 0).repeat(4, 1)
    made[::2, ::2] += 9
    made[1::2, 1::2] -= 9  # details whose mean over an input pixel is zero
    assert np.array_equal(with_colors_of(lq, made), made)
    y, _ = np.indices(made.shape[:2])
    drifted = np.uint8(np.rint(made + np.stack([y / 40, 5 + 0 * y, -7 + 0 * y], axis=-1)))
    mended = with_colors_of(lq, drifted).astype(float)
    assert np.abs(mended - made).max() <= 2
    assert np.abs((mended - made).mean((0, 1))).max() < 0.3


def holds(image: np.ndarray, part: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(image, part.shape)
    return bool((windows == part).all((-1, -2, -3)).any())


def test_basicsr_reads_the_pairs(tmp_path, photos):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    make_pairs(pairs_of(photos), tmp_path / "pairs", 3, processes=1)
    dataset = PairedImageDataset({
        "phase": "val", "scale": 2, "io_backend": {"type": "lmdb"},
        "dataroot_gt": str(tmp_path / "pairs" / "teacher.lmdb"), "dataroot_lq": str(tmp_path / "pairs" / "lq.lmdb"),
    })  # fmt: skip
    assert len(dataset) == 3
    assert dataset[2]["lq"].shape == (3, 8, 8) and dataset[2]["gt"].shape == (3, 16, 16)


@pytest.mark.parametrize(("processes", "batch"), [(1, None), (2, None), (1, 2), (2, 3)])
def test_interrupted_run_continues_with_the_same_pairs(tmp_path, photos, processes, batch):
    """This includes teachers that upscale batches, as on a GPU, and pairs that do not need the teacher."""
    own = {"degradation": Degradation({"type": "jpeg", "clean_prob": 0.3}), "plain": 0.2}
    make_pairs(pairs_of(photos, **own), tmp_path / "whole", 16, processes=1)
    interrupted = Doubler(stop_at=4 if batch is None else 2)
    with pytest.raises(KeyboardInterrupt):
        make_pairs(pairs_of(photos, interrupted, **own), tmp_path / "pairs", 16, 1, batch)
    done = len(open_source(str(tmp_path / "pairs" / "gt.lmdb"), "lmdb"))
    assert 0 < done < 16
    assert make_pairs(pairs_of(photos, **own), tmp_path / "pairs", 16, processes, batch) == 16 - done
    assert contents(tmp_path / "pairs") == contents(tmp_path / "whole")
    assert make_pairs(pairs_of(photos, **own), tmp_path / "pairs", 16, processes, batch) == 0


def test_teacher_upscales_batches(tmp_path):
    path = tmp_path / "teacher.pth"
    options = {**NETWORK, "scale": 2}
    checkpoint.save(path, {"params": build_network(options).state_dict(), "network_g": options})
    teacher, lq = Teacher(str(path)), np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    outputs = teacher(lq)
    assert outputs.shape == (5, 16, 18, 3)
    for image, output in zip(lq, outputs, strict=True):
        assert np.abs(teacher(image[None])[0].astype(int) - output).max() <= 1


def test_half_written_pair_is_written_again(tmp_path, photos):
    make_pairs(pairs_of(photos), tmp_path / "pairs", 5, processes=1)
    make_pairs(pairs_of(photos), tmp_path / "whole", 6, processes=1)
    for kind in ("gt", "teacher"):  # the run was killed before the input was written
        with lmdb.open(str(tmp_path / "pairs" / f"{kind}.lmdb")) as env, env.begin(write=True) as transaction:
            transaction.put(b"0000005", b"half")
    assert make_pairs(pairs_of(photos), tmp_path / "pairs", 6, processes=1) == 1
    assert contents(tmp_path / "pairs") == contents(tmp_path / "whole")


def test_seed(tmp_path, photos):
    assert pairs_of(photos).pair(3) == pairs_of(photos).pair(3)
    assert pairs_of(photos).pair(3) != pairs_of(photos).pair(4)
    assert pairs_of(photos).pair(3) != pairs_of(photos, seed=1).pair(3)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"teacher": Doubler(name="other")}, "teacher is 'doubler' in the pairs, but 'other' in the options"),
        ({"degradation": Degradation("photo")}, "degradation is 'jpeg' in the pairs, but 'photo' in"),
        ({"degradation": Degradation("jpeg:60")}, "degradation: jpeg_range is [50, 50] in the pairs, but [60, 60] in"),
        ({"lq_size": 9}, "lq_size is 8 in the pairs, but 9 in the options"),
        ({"seed": 2}, "seed is 0 in the pairs, but 2 in the options"),
    ],
)
def test_continuing_with_other_settings(tmp_path, photos, changes, part):
    make_pairs(pairs_of(photos), tmp_path / "pairs", 2, processes=1)
    before = contents(tmp_path / "pairs")
    with pytest.raises(LIIFError) as caught:
        make_pairs(pairs_of(photos, **changes), tmp_path / "pairs", 4, processes=1)
    assert str(caught.value).startswith(f"{tmp_path / 'pairs'}: {part}")
    assert contents(tmp_path / "pairs") == before


def test_photographs_too_small_for_a_crop(tmp_path, photos):
    with pytest.raises(LIIFError, match="no photograph has at least 400x400 pixels"):
        make_pairs(pairs_of(photos, lq_size=200), tmp_path / "pairs", 2, processes=1)
    assert not (tmp_path / "pairs").exists()


def test_other_folders_are_left_alone(tmp_path, photos):
    with pytest.raises(LIIFError, match="has no teach.json"):
        make_pairs(pairs_of(photos), photos, 2, processes=1)
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "teach.json").write_text("{")
    with pytest.raises(LIIFError, match="is damaged"):
        make_pairs(pairs_of(photos), tmp_path / "pairs", 2, processes=1)


def test_corrupt_photograph_is_named_and_earlier_pairs_stay(tmp_path, photos):
    path = photos / "1.png"
    path.write_bytes(path.read_bytes()[:2000])
    for batch in (None, 4):
        with pytest.raises(LIIFError, match="1.png"):
            make_pairs(pairs_of(photos, seed=3), tmp_path / str(batch), 50, 1, batch)
    one_by_one = contents(tmp_path / "None")
    assert len(one_by_one["lq list"].splitlines()) > 0
    assert contents(tmp_path / "4") == one_by_one


def test_missing_settings_in_the_record():
    with pytest.raises(LIIFError, match="pairs: scale is None in the pairs, but 4 in the options"):
        check_record({"teacher": "x"}, {"teacher": "x", "scale": 4}, "pairs")


# Pairs in the dataset --------------------------------------------------------------------


def block_of(folder: Path, target: str = "teacher", **changes: Any) -> dict[str, Any]:
    lq, gt = folder / "lq.lmdb", folder / f"{target}.lmdb"
    return paired_train_block(gt, lq, **{"scales": [2], "scale_range": [1, 2], "lq_size": 6, "sample_q": 36, **changes})


def test_scale_range_downsamples_the_teachers_output(tmp_path, photos):
    make_pairs(pairs_of(photos), tmp_path / "pairs", 3, processes=1)
    dataset = build(block_of(tmp_path / "pairs", use_hflip=False, use_rot=False))
    whole = [dataset.gt[0].read(index) for index in range(3)]
    sides = set()
    for seed in range(60):
        torch.manual_seed(seed)
        item = dataset[seed % 3]
        side = round(2 / float(item["cell"][0, 0]))
        sides.add(side)
        target = torch.stack([to_image_tensor(part) for part in parts_of(whole[seed % 3], side)])
        y, x = ((item["coord"].T + 1) * side / 2 - 0.5).round().long()
        assert (target[:, :, y, x].mT == item["gt"]).all((1, 2)).any()
    assert sides == set(range(6, 13))


def parts_of(image: np.ndarray, side: int) -> list[np.ndarray]:
    """Return the target crops of all 6x6 inputs from a 16x16 target image, downsampled to `side`."""
    corners = [(top, left) for top in (0, 2, 4) for left in (0, 2, 4)]
    return [downsample(image, (side, side), corner, (12, 12)) for corner in corners]


def test_downsampled_part_equals_a_crop_of_the_whole():
    image = np.uint8(np.random.default_rng(0).integers(0, 256, (64, 96, 3)))
    whole = downsample(image, (32, 48))
    assert np.array_equal(downsample(image, (20, 16), (8, 20), (40, 32)), whole[4:24, 10:26])
    assert np.array_equal(downsample(image, (40, 32), (8, 20), (40, 32)), image[8:48, 20:52])


def test_matching_pairs_are_accepted(tmp_path, photos):
    make_pairs(pairs_of(photos), tmp_path / "pairs", 3, processes=1)
    wanted = {"path": "doubler", "scale": 2, "degradation": "jpeg:50"}
    assert len(build(block_of(tmp_path / "pairs", "gt", teacher=wanted))) == 3
    assert len(build(block_of(tmp_path / "pairs", teacher={"path": "doubler"}, scale_range=None, sample_q=144))) == 3


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"teacher": {"path": "other"}}, ["teacher: teacher is 'doubler' in the pairs, but 'other' in"]),
        ({"teacher": {"path": "doubler", "scale": 4}}, ["teacher: scale is 2 in the pairs, but 4 in"]),
        ({"teacher": {"path": "doubler", "degradation": "photo"}}, ["degradation is 'jpeg' in the pairs, but 'photo'"]),
        ({"teacher": {"path": "doubler", "degradation": "foto"}}, ["teacher: degradation: type: ", "'photo'"]),
        ({"teacher": {"scale": 2}}, ["teacher", "'path' is missing"]),
        ({"teacher": "doubler"}, ["teacher: expected a block"]),
        ({"scales": [3]}, ["scales: the pairs in", "scale 2", "[2]"]),
        ({"scale_range": [1, 3]}, ["scale_range: ends at 3", "scale 2"]),
        ({"scale_range": [2, 1]}, ["scale_range", "[lowest, highest]"]),
        ({"sample_q": 49}, ["sample_q is 49", "36"]),
    ],
)
def test_pairs_with_other_settings(tmp_path, photos, changes, parts):
    make_pairs(pairs_of(photos), tmp_path / "pairs", 1, processes=1)
    refused(lambda: build(block_of(tmp_path / "pairs", **changes)), "datasets: Photos: ", *parts)


def test_teacher_option_needs_a_record(tmp_path, photos):
    refused(
        lambda: build(paired_train_block(photos, photos, teacher={"path": "doubler"})),
        "dataroot_lq", "has no teach.json", "prepare teach",
    )  # fmt: skip
