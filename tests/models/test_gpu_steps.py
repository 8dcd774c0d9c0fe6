"""Training steps on a GPU: kernels, precision, late reports of non-finite numbers, memory, and compiled networks."""
from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from basicsr.models import build_model
from conftest import DEVICE
from experiment import NETWORK, batch, steps

from liif_basicsr import devices
from liif_basicsr.archs import build_network
from liif_basicsr.archs.ensemble import ensemble_mean
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.teacher import Teacher
from liif_basicsr.images import engine
from liif_basicsr.models.checks import precision_of
from liif_basicsr.models.optimization import set_fused
from liif_basicsr.rendering import gpu_kernels
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.homographies import rotation
from liif_basicsr.rendering.memory import Tiling
from liif_basicsr.rendering.warped import render_warped
from liif_basicsr.rendering.warps import Homography

EDSR_LIIF = {"type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 16}, "hidden_dims": [8] * 4}
# A step once took 950 kernels, and a render of 27 blocks took 1027. Since then, Adam, the check of gradients, the
# moving average and the decoder need only a few kernels each.
MOST_IN_A_STEP, MOST_IN_A_COMPILED_STEP, MOST_IN_A_RENDER = 400, 950 // 3, 1027 // 2
MOST_IN_FINISH = 13  # at the end of a step, for the check of gradients, Adam and the moving average

on_simulated_gpu = pytest.mark.skipif(DEVICE != "fakegpu", reason="LIIF_TEST_DEVICE=fakegpu counts kernels")


@on_simulated_gpu
def test_kernels_of_a_step(opt):
    from fakegpu import Launches

    opt["network_g"] = EDSR_LIIF
    model = build_model(opt)
    steps(model, 2)
    model.feed_data(batch())
    with Launches() as launches:
        model.optimize_parameters(3)
    assert launches.count <= MOST_IN_A_STEP
    with Launches() as launches:
        model.finish_step(4, {"l_pix": model.output.sum().detach()}, [model.optimizer_g])
    assert launches.count <= MOST_IN_FINISH


@on_simulated_gpu
def test_kernels_of_a_render(monkeypatch):
    from fakegpu import Launches

    net = build_network(EDSR_LIIF).eval()
    net.tiling = Tiling(512, 4 * net.decoder.floats_per_pixel * 174)

    def one_kernel(compute: Any) -> Any:
        def run(*args: Any) -> torch.Tensor:
            before = launches.count
            result = compute(*args)
            launches.count = before + 1
            return result
        return run

    def gather(grid, index_y, index_x, term_y, term_x):
        picked = grid[index_y[:, None, :, None], index_x[None, :, None]]
        return (picked + term_y[:, None, :, None] + term_x[None, :, None]).relu().flatten(0, 3)

    def mean(outputs, rel_y, rel_x, eps):
        corners = outputs.unflatten(0, (2, 2, rel_y.shape[1], rel_x.shape[1]))
        return ensemble_mean(corners, rel_y[:, None, :, None], rel_x[None, :, None]).permute(2, 0, 1)

    lq = torch.rand(1, 3, 20, 24)
    plain = net.render(lq, (80, 50))
    monkeypatch.setattr(gpu_kernels, "can_launch", lambda like: True)
    monkeypatch.setattr(gpu_kernels, "gather_add_relu", one_kernel(gather))
    monkeypatch.setattr(gpu_kernels, "ensemble_mean", one_kernel(mean))
    with Launches() as launches:
        fused = net.render(lq, (80, 50))
    assert launches.count <= MOST_IN_A_RENDER
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-6)


@on_simulated_gpu
@pytest.mark.parametrize("block", [
    {"type": "LIIF", "hidden_dims": [8]}, {"type": "LMLIIF", "latent_dims": [8], "render_dim": 4, "render_depth": 2},
    {"type": "Thera", "num_freq": 4}, {"type": "MetaSR", "hidden_dim": 8}, {"type": "PixelShuffleSR", "scale": 2},
    {"type": "SRNO", "width": 8, "num_heads": 2, "hidden_dim": 8}, {"type": "ContinuousShuffleSR", "num_feat": 8},
], ids=lambda block: block["type"])  # fmt: skip
def test_rendering_does_not_wait_for_the_device(block):
    """Only PixelShuffleSR waits: it reads the largest cell, which determines the size of a filter."""
    from fakegpu import Launches

    net = build_network({**block, "encoder": NETWORK["encoder"]}).eval()
    net.tiling = Tiling(tile=8, block_bytes=20_000)
    lq = torch.rand(1, 3, 20, 24)
    turned = Homography(*rotation((20, 24), 20, False, (1.5, 0.8)))
    with Launches() as launches:
        net.render(lq, (50, 41))
        render_warped(net.encode_image(lq), turned, Window(0, 0, *turned.size))
    assert set(launches.waits) == ({"_local_scalar_dense"} if block["type"] == "PixelShuffleSR" else set())


@pytest.mark.skipif(DEVICE == "cpu", reason="numbers on the CPU are read at once")
def test_bad_step_is_skipped_at_once_and_reported_after_the_next(opt):
    opt["train"]["skip_nonfinite"] = 1
    model, bad = build_model(opt), batch()
    bad["gt"][0] = math.nan
    before = {key: value.clone() for key, value in model.net_g_ema.state_dict().items()}
    weights = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    model.feed_data(bad)
    model.optimize_parameters(1)
    assert model.skipped_steps == 0
    assert all(torch.equal(value, weights[key]) for key, value in model.net_g.state_dict().items())
    assert all(torch.equal(value, before[key]) for key, value in model.net_g_ema.state_dict().items())
    model.feed_data(batch())
    model.optimize_parameters(2)
    assert model.skipped_steps == 1
    model.feed_data(bad)
    model.optimize_parameters(3)
    with pytest.raises(LIIFError, match="iteration 3: the loss is not finite"):
        model.save(0, 3)


# inductor needs a C++ compiler, and takes a minute.
@pytest.mark.skipif(DEVICE == "fakegpu", reason="torch.compile does not trace the simulated device")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # in torch's compiler
@pytest.mark.parametrize("backend", ["aot_eager", *(["inductor"] if os.environ.get("LIIF_TEST_INDUCTOR") else [])])
def test_compiled_training_equals_eager(opt, monkeypatch, backend):
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiler(module, backend=backend))
    models = []
    for compiled in (False, True):
        opt["train"]["compile"] = compiled
        models.append(build_model({**opt, "train": {**opt["train"], "optim_g": dict(opt["train"]["optim_g"])}}))
    eager, compiled = models
    compiled.net_g.load_state_dict(eager.net_g.state_dict())
    start = [param.clone() for param in eager.net_g.parameters()]
    for k in range(4):
        for model in models:
            steps(model, 1, batch(seed=k))
    for before, a, b in zip(start, eager.net_g.parameters(), compiled.net_g.parameters(), strict=True):
        assert not torch.equal(before, a)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 if DEVICE == "cpu" else 1e-3)
    torch.compiler.reset()


@pytest.mark.skipif(DEVICE != "cpu" or not os.environ.get("LIIF_TEST_INDUCTOR"), reason="takes a minute on the CPU")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # in torch's compiler
def test_kernels_of_a_compiled_step(opt):
    from torch._dynamo.utils import counters
    from torch._inductor import metrics
    from torch._inductor.utils import fresh_cache

    opt["network_g"] = EDSR_LIIF
    opt["train"]["compile"] = True
    torch.compiler.reset()
    counters.clear()
    metrics.reset()
    with fresh_cache():  # cached code is not counted
        steps(build_model(opt), 1)
    # As in `Launches`, each gradient of a convolution counts. The bias does not, because the forward call adds it here.
    # Instead, the backward call itself counts.
    kernels = metrics.generated_kernel_count + counters["inductor"]["extern_calls"]
    assert 2 * 35 < kernels <= MOST_IN_A_COMPILED_STEP - MOST_IN_FINISH
    torch.compiler.reset()


@pytest.mark.skipif(DEVICE == "fakegpu", reason="torch.compile does not trace the simulated device")
def test_failure_of_the_compiler_is_one_line(opt, monkeypatch):
    def fail(*args: Any) -> None:
        raise RuntimeError("no C++ compiler\nmore")

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiler(module, backend=fail))
    opt["train"]["compile"] = True
    model = build_model(opt)
    model.feed_data(batch())
    with pytest.raises(LIIFError, match="train: compile: torch.compile failed .*; remove the option") as error:
        model.optimize_parameters(1)
    assert "\n" not in str(error.value)
    torch.compiler.reset()


def test_training_that_exceeds_gpu_memory(opt, monkeypatch):
    model = build_model(opt)

    def fail(iteration: int) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(model, "train_step", fail)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 20 << 30)
    says = r"iteration 7: not enough GPU memory \(1.0 of 80.0 GiB free, 59.0 GiB used by other .*batch_size_per_gpu"
    with pytest.raises(LIIFError, match=says):
        model.optimize_parameters(7)


@pytest.mark.parametrize(("kind", "given", "device", "fused"), [
    ("Adam", {}, "cuda", True), ("AdamW", {}, "cuda", True), ("Adam", {"fused": False}, "cuda", False),
    ("Adam", {}, "cpu", None), ("Adam", {}, "mps", None), ("SGD", {}, "cuda", None),
])  # fmt: skip
def test_fused_optimizers(kind, given, device, fused):
    options = {"type": kind, **given}
    set_fused(options, torch.device(device))
    assert options.get("fused") is fused


@pytest.mark.cpu
def test_gpu_without_bfloat16(monkeypatch):
    """The error is one line that names the option, the GPU, and precisions that it supports."""
    card = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(engine, "open_device", lambda name: card)
    monkeypatch.setattr(engine.checkpoint, "load", lambda model: SimpleNamespace(to=lambda device: None))
    says = "Tesla T4 has no instructions for bfloat16; use"
    with pytest.raises(LIIFError, match=f"^precision bfloat16: {says} float16 or float32$"):
        engine.Engine("liif-fast", precision="bfloat16")
    with pytest.raises(LIIFError, match=f"^--precision bfloat16: {says} float16 or float32$"):
        Teacher("liif-fast", "bfloat16", card)
    with pytest.raises(LIIFError, match=f"^train: amp: bfloat16: {says} auto or float16$"):
        precision_of("bfloat16", card, "train: amp")
    assert [precision_of(amp, card, "train: amp") for amp in ("auto", "float16")] == ["float32", "float16"]


@pytest.mark.cpu
@pytest.mark.parametrize(("precision", "expected"), [("float32", False), ("tf32", True), ("bfloat16", False)])
def test_tf32_is_a_precision_of_its_own(precision, expected):
    """The switches can be set without a GPU."""
    gpu, switches = torch.device("cuda"), (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    with devices.tf32(gpu, precision == "tf32"):
        assert [switch.allow_tf32 for switch in switches] == [expected] * 2
        with devices.exact_float32(gpu):  # as in `render`
            assert [switch.allow_tf32 for switch in switches] == [expected] * 2
    with devices.exact_float32(gpu):
        assert [switch.allow_tf32 for switch in switches] == [False] * 2
    assert [switch.allow_tf32 for switch in switches] == before
    net, lq = build_network(NETWORK).eval(), torch.rand(1, 3, 5, 6)
    with devices.autocast(torch.device("cpu"), precision):
        assert net.render(lq, (9, 9)).shape == (1, 3, 9, 9)
