"""`python -m liif_basicsr.train` and `.test` run BasicSR's pipelines, and report mistakes before they start."""
import copy
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from experiment import command, environ, launch, make_images, train_options, val_set, write_options
from faultsuite.processes import run, train

from liif_basicsr.errors import LIIFError
from liif_basicsr.launch import main, parse
from liif_basicsr.launch import options as launch_options


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("data") / "images", 3)


@pytest.fixture
def opt(images):
    return train_options(images)


def check(tmp_path, opt, *args, is_train=True):
    path = write_options(tmp_path / "options.yml", opt)
    launch_options.check(parse(["-opt", str(path), *args], is_train), is_train)


def changed(opt, key, value):
    """Return a copy with one option changed. It is named as for --force_yml. The value None removes the option."""
    opt = copy.deepcopy(opt)
    *path, last = key.split(":")
    block = opt
    for name in path:
        block = block[name]
    if value is None:
        del block[last]
    else:
        block[last] = value
    return opt


# Whole runs -------------------------------------------------------------------------------------------------


def test_train_then_test(tmp_path, images, opt):
    """Everything is written under the current folder. Testing reports the same values as the end of training."""
    opt["val"] = {"val_freq": 3, "save_img": False, "metrics": {"psnr": {"type": "calculate_psnr_liif"}}}
    opt["datasets"]["val_1"] = val_set("A", images, [2, 3], protocol="div2k")
    opt["logger"]["use_tb_logger"] = True
    said = launch("train", write_options(tmp_path / "train.yml", opt), "--force_yml", "train:total_iter=3")
    assert "iter:       3" in said and "iter:       4" not in said
    last = said.rpartition("Validation A_x3")[2].split("# psnr: ")[1].split()[0]
    assert said.count("Validation A_x2") == 2 and "@ 3 iter" in said and "@ 4 iter" not in said
    assert list((tmp_path / "tb_logger" / "tiny").iterdir())

    network = {"pretrain_network_g": "experiments/tiny/models/net_g_latest.pth", "param_key_g": "params_ema"}
    opt.update(name="tested", path=network, val={"save_img": True, "metrics": opt["val"]["metrics"]})
    opt["datasets"] = {"test_1": opt["datasets"]["val_1"]}
    launch("test", write_options(tmp_path / "test.yml", opt))
    results = tmp_path / "results" / "tested"
    assert (results / "results.md").read_text().splitlines()[3] == f"| A_x3 | {last} |"
    assert len(list((results / "visualization" / "A_x3").iterdir())) == 3


def test_a_mistake_is_one_line(tmp_path, opt):
    path = write_options(tmp_path / "options.yml", changed(opt, "datasets:train:dataroot_gt", "none"))
    said = launch("train", path, status=2)
    assert said.splitlines()[-1].startswith("liif_basicsr: error: datasets: tiny: dataroot_gt: none")
    assert "Traceback" not in said
    said = launch("train", tmp_path / "none.yml", status=2)
    assert said == f"liif_basicsr: error: {tmp_path}/none.yml: cannot be read: No such file or directory\n"


def test_system_errors_are_one_line(tmp_path, opt):
    (tmp_path / "experiments").write_text("no folder")
    ended = run(train, "-opt", str(write_options(tmp_path / "options.yml", opt)), folder=tmp_path)
    assert ended.status == 2 and "Traceback" not in ended.said
    assert ended.said.splitlines()[-1].startswith(f"liif_basicsr: error: {tmp_path}/experiments/tiny: ")


@pytest.mark.parametrize(("batch", "ends"), [(16, 0), (5, 21)])
def test_basicsrs_script_refuses_a_run_that_would_end_early(tmp_path, opt, batch, ends):
    """`python basicsr/train.py` would make too few steps, log "End of training" and exit with 0."""
    opt["datasets"]["train"]["dataroot_gt"] = str(make_images(tmp_path / "images", 8))
    opt["train"]["total_iter"] = 40
    (tmp_path / "basicsr").mkdir()
    script = shutil.copy(Path(find_spec("basicsr").origin).with_name("train.py"), tmp_path / "basicsr")
    opt["datasets"]["train"].update(batch_size_per_gpu=batch, dataset_enlarge_ratio=1)
    path = write_options(tmp_path / "options.yml", opt)
    done = subprocess.run(
        [sys.executable, script, "-opt", path],
        cwd=tmp_path, env=environ(), text=True, capture_output=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"would end after {ends} of 40 iterations" in done.stderr.splitlines()[-1] and "End of" not in done.stderr
    assert not list(tmp_path.rglob("*.pth"))


def test_an_interrupt_ends_in_a_line(tmp_path, opt):
    opt["train"]["total_iter"] = 10**6
    path = write_options(tmp_path / "options.yml", opt)
    with open(tmp_path / "said", "w+") as said:
        run = subprocess.Popen(command("train", path), cwd=tmp_path, env=environ(), stdout=said, stderr=said)
        while not list(tmp_path.glob("experiments/tiny/training_states/*.state")):
            assert run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        try:
            assert run.wait(60) == 130
        finally:
            run.kill()
        said.seek(0)
        text = said.read()
    assert text.splitlines()[-1].startswith("liif_basicsr: interrupted") and "Traceback" not in text


# Invalid options --------------------------------------------------------------------------------------------


COSINE = {"type": "CosineAnnealingRestartLR", "restart_weights": [1, 1]}


def test_good_options_pass(tmp_path, images, opt):
    check(tmp_path, opt)
    val = {"save_img": True}
    sets = {"test_1": val_set("A", images, [2]), "test_2": val_set("B", images, [2])}
    check(tmp_path, {**opt, "datasets": sets, "val": val}, is_train=False)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", None, "option 'name' is missing"),
        ("name", 3, r"name: expected the name of a folder, without / and \\, got 3"),
        *(("name", name, "name: expected the name") for name in ("../x", "a/b", "a/", "/a", "a\\b", "..", ".", "")),
        ("datasets:train:name", "../x", "datasets: train: name: expected the name of a folder"),
        ("model_type", "SRModel", "model_type: SRModel cannot train on ArbitraryScaleImageDataset"),
        ("model_type", "LIFModel", "model_type: unknown model 'LIFModel'; did you mean 'LIIFModel'"),
        ("num_gpu", "all", "num_gpu: expected an integer of at least 0 or 'auto', got 'all'"),
        ("num_gpu", None, "option 'num_gpu' is missing"),
        ("manual_seed", 2**40, "manual_seed: expected an integer from 0 to 2147483647, got"),
        ("datasets", None, "option 'datasets' is missing"),
        ("datasets:train", None, "datasets: option 'train' is missing"),
        ("datasets:train", [1], r"datasets: train: expected a block of options, got \[1\]"),
        ("datasets:vall", {}, "datasets: vall: unknown phase; expected train or val"),
        ("datasets:train:type", "ArbitraryScaleImage", "datasets: train: unknown dataset .*mean 'ArbitraryScaleImageD"),
        ("datasets:train:batch_size_per_gpu", 0, "datasets: train: batch_size_per_gpu: expected an integer of"),
        ("datasets:train:num_worker_per_gpu", None, "datasets: train: option 'num_worker_per_gpu' is missing"),
        ("network_g", None, "option 'network_g' is missing"),
        ("network_g:hidden_dim", [8], "network_g: unknown option 'hidden_dim'"),
        ("path", None, "option 'path' is missing"),
        ("path:pretrain_networks_g", "x", "path: unknown option .*mean 'pretrain_network_g'"),
        ("train:total_iter", None, "train: option 'total_iter' is missing"),
        ("train:scheduler", {**COSINE, "periods": [2, 2]}, "train: scheduler: periods: their sum is 4 iter"),
        ("train:scheduler", {**COSINE, "periods": 6}, "train: scheduler: periods: expected a list of whole"),
        ("train:optim_g:lr", "1e-4", "train: optim_g: lr: expected a number, got '1e-4'; YAML reads"),
        ("train:ema", 0.9, "train: unknown option 'ema'"),
        ("logger", None, "option 'logger' is missing"),
        ("logger:print_freq", 0, "logger: print_freq: expected an integer of at least 1, got 0"),
        ("logger:use_tb_logger", None, "logger: option 'use_tb_logger' is missing"),
        ("valid", {"save_img": True}, "unknown option 'valid'; did you mean 'val'"),
        ("dist_params", {"port": "29500"}, "dist_params: port: expected a number, got '29500'"),
        ("train:optim_g:betas", [0.9, "0.99"], "train: optim_g: betas: expected a "),
        ("val", {"save_img": True}, "val: option 'val_freq' is missing"),
        ("val", {"val_frq": 3, "save_img": True},
         "val: option 'val_freq' is missing; did you misspell it as 'val_frq'"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(tmp_path, opt, key, value, message):
    with pytest.raises(LIIFError, match=f"options.yml: {message}"):
        check(tmp_path, changed(opt, key, value))


def test_prefetching_to_a_gpu_needs_one(tmp_path, opt, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    opt["datasets"]["train"].update(prefetch_mode="cuda", pin_memory=True)
    with pytest.raises(LIIFError, match="datasets: train: prefetch_mode: cuda needs a GPU that torch can use"):
        check(tmp_path, opt)


@pytest.mark.parametrize(
    ("missing", "logger", "message"),
    [
        ("tensorboard", {"use_tb_logger": True}, "use_tb_logger: tensorboard is not installed"),
        ("wandb", {"use_tb_logger": True, "wandb": {"project": "p"}}, "wandb: wandb is not installed"),
        (None, {"use_tb_logger": False, "wandb": {"project": "p"}}, "wandb: needs TensorBoard; set use_tb_logger"),
    ],
)
def test_loggers_that_are_not_installed(tmp_path, opt, monkeypatch, missing, logger, message):
    monkeypatch.setattr("liif_basicsr.models.checks.find_spec", lambda name: None if name == missing else name)
    opt["logger"].update(logger)
    with pytest.raises(LIIFError, match=f"logger: {message}"):
        check(tmp_path, opt)
    # When debugging, BasicSR uses neither logger.
    check(tmp_path, {**opt, "name": "debug_tiny", "val": {"val_freq": 8, "save_img": False}})


def test_debugging_needs_a_val_block(tmp_path, opt):
    check(tmp_path, {**opt, "val": None})
    with pytest.raises(LIIFError, match="val: expected a block of options, .*; remove the line `val: ~`"):
        check(tmp_path, {**opt, "val": None, "name": "debug_x"})
    with pytest.raises(LIIFError, match="val: expected a block of options"):
        check(tmp_path, {**opt, "val": None}, "--debug")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an options file"),
        (b"- a\n- b\n", "not an options file"),
        (b"a: [1\nb: 2", "not an options file, or not a safe one"),
        (b"a: \xff\xfe", "not an options file, or not a safe one"),
        (b"a: \x00", "not an options file, or not a safe one"),
        (b"a: 2001-99-99", "not an options file, or not a safe one"),
        (b"a: {3: b}", "option names must be strings, got 3; quote it"),
        (b"a: 1\nb: {c: 1,\n  c: 2}\n", "option 'c' is set in lines 2 and 3; remove one"),
        (b"{a: 1}: 2", "option names must be strings, got a mapping; quote it"),
        (b"[" * 5000, "not an options file, or not a safe one"),
    ],
)
def test_invalid_options_files(tmp_path, content, message):
    path = tmp_path / "options.yml"
    path.write_bytes(content)
    with pytest.raises(LIIFError, match=f"options.yml: {message}") as error:
        launch_options.check(parse(["-opt", str(path)], True), True)
    assert "\n" not in str(error.value)


def test_merged_blocks_may_be_overridden(tmp_path):
    path = tmp_path / "options.yml"
    path.write_text("b: &b {k: 0, x: 2}\na: {a: &a {<<: *b, k: 1}}\nc: {<<: *a, x: 3}\n")
    assert launch_options.read(str(path)) == yaml.safe_load(path.read_text())


def test_basicsr_reads_merged_blocks(tmp_path, images, opt):
    path = write_options(tmp_path / "options.yml", {**opt, "train": {**opt["train"], "total_iter": 1}})
    sets = f"val: &val {json.dumps(val_set('A', images, [2]))}\n  val_2: {{<<: *val, name: B}}"
    path.write_text(path.read_text().replace("datasets:\n", f"datasets:\n  {sets}\n"))
    said = launch("train", path)
    assert "images/folders in A: 3" in said and "images/folders in B: 3" in said


@pytest.mark.parametrize("tag", ["object/apply:os.system", "object/new:os.system", "name:os.system"])
def test_options_run_no_code(tmp_path, tag):
    path, witness = tmp_path / "options.yml", tmp_path / "witness"
    path.write_text(f"name: !!python/{tag} [touch {witness}]\n")
    with pytest.raises(LIIFError, match="or not a safe one"):
        launch_options.check(parse(["-opt", str(path)], True), True)
    assert not witness.exists()


BAD = ["block:option=1", "name:option=1", "name", "name=a=b", 'na"me=1', 'name"];x["y=1', "name=[1", "name=[open('x')]"]


@pytest.mark.parametrize("entry", BAD)
def test_a_forced_option_that_does_not_exist_or_is_code_is_reported(tmp_path, opt, entry):
    with pytest.raises(LIIFError, match="--force_yml"):
        check(tmp_path, opt, "--force_yml", entry)


@pytest.mark.parametrize("key", ["models", "training_states", "log", "visualization"])
def test_folders_that_basicsr_replaces(tmp_path, opt, key):
    opt["path"][key] = "/data"
    with pytest.raises(LIIFError, match=f"path: {key}: this version of BasicSR ignores the option"):
        check(tmp_path, opt)


def test_folders_that_basicsr_reads_pass(tmp_path, opt, monkeypatch):
    """BasicSR's git master reads the option `experiments_root`, but the release does not."""

    def parse_options(opt):
        return opt["path"].get('experiments_root')  # noqa: Q000

    opt["path"]["experiments_root"] = "/data/experiments"
    with pytest.raises(LIIFError, match="path: experiments_root: this version of BasicSR ignores the option"):
        check(tmp_path, opt)
    monkeypatch.setattr(launch_options, "parse_options", parse_options)
    check(tmp_path, opt)


def test_a_test_without_a_result_is_refused(tmp_path, images, opt):
    opt.update(datasets={"test_1": val_set("A", images, [2])}, val={"save_img": False})
    with pytest.raises(LIIFError, match="val: the test would compute no metrics and save no images"):
        check(tmp_path, opt, is_train=False)


def test_forced_options_count(tmp_path, opt):
    del opt["name"]
    check(tmp_path, opt, "--force_yml", "name=forced", "train:total_iter=9", "--debug")
    with pytest.raises(LIIFError, match="logger: print_freq"):
        check(tmp_path, opt, "--force_yml", "name=forced", "logger:print_freq=0")


def test_every_options_file_of_ours_passes(request):
    """The check does not open the data. An error is accepted only if the weights of VGG are missing."""
    for path in sorted((request.config.rootpath / "options").rglob("*.yml")):
        try:
            is_train = path.name.startswith("train")
            launch_options.check(parse(["-opt", os.fspath(path)], is_train), is_train)
        except LIIFError as error:
            assert "the weights of VGG are missing at" in str(error)


def test_console_with_a_narrow_code_page(tmp_path, monkeypatch):
    """BasicSR prints folder names, which the console may be unable to encode."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "cp1252"))
    monkeypatch.setattr(sys, "argv", ["train", "-opt", str(tmp_path / "训练.yml")])
    assert main(is_train=True) == 2
    print("训练", flush=True)
    assert sys.stdout.buffer.getvalue().strip() == rb"\u8bad\u7ec3"


def test_options_are_utf8_in_every_locale(tmp_path, opt):
    """The test uses ASCII as an example of encodings other than UTF-8, such as GBK."""
    opt["train"]["total_iter"] = 1
    path = write_options(tmp_path / "options.yml", opt)
    path.write_text("# 训练 Jörg\n" + path.read_text(), encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        command("train", path), cwd=tmp_path, env={**environ(), **locale}, capture_output=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
