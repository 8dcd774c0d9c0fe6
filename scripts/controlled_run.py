"""Compare networks or training settings by short training runs that differ in one setting, and print a table.

    python scripts/controlled_run.py paper
    python scripts/controlled_run.py decoders
    python scripts/controlled_run.py recipe

`paper` repeats comparisons of the LIIF paper: LIIF, its ablations, MetaSR, and LIIF trained at only one scale.
`decoders` trains every network with the same encoder, first for the same number of iterations, then for as much CPU
time as LIIF takes. `recipe` trains one LIIF with different training settings. `decoders` and `recipe` train with
several seeds and write their tables into `docs/comparison.md`; `decoders` also draws that page's figure. An
interrupted comparison continues with the first unfinished run.
"""
from __future__ import annotations

import argparse
import inspect
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from benchmarking.variants import (
    alternate,
    cost_columns,
    draw,
    measure_costs,
    measure_psnr,
    split_page,
    training_step,
    write_table,
)

from liif_basicsr.archs import find_arch, list_archs
from liif_basicsr.config.scales import scale_pair
from liif_basicsr.errors import LIIFError, run_script, suggest
from liif_basicsr.evaluation.results import Results
from liif_basicsr.evaluation.sets import EvalSet, open_sets
from liif_basicsr.files import check_output, write
from liif_basicsr.launch.options import read

ROOT = Path(__file__).parents[1]
# Changed options; None removes an option.
Changes = dict[str, Any]

# Source: LIIF paper, section 4.
PAPER: dict[str, Changes] = {
    "LIIF": {},
    "MetaSR": {"network_g": {"type": "MetaSR", "hidden_dims": None}},
    "LIIF-x2": {"datasets": {"train": {"scale_range": [2, 2]}}},
    "LIIF-x3": {"datasets": {"train": {"scale_range": [3, 3]}}},
    "LIIF-x4": {"datasets": {"train": {"scale_range": [4, 4]}}},
    "LIIF-c": {"network_g": {"cell_decode": False}},
    "LIIF-u": {"network_g": {"feat_unfold": False}},
    "LIIF-e": {"network_g": {"local_ensemble": False}},
    "LIIF-d": {"network_g": {"hidden_dims": [64, 64]}},
}

# Arguments that make a decoder about 64 wide. Networks that are not listed keep their defaults.
WIDTH_64: dict[str, dict[str, Any]] = {
    "LIIF": {"hidden_dims": [64, 64, 64, 64]},
    "MetaSR": {"hidden_dim": 64},
    "LTE": {"hidden_dims": [64, 64, 64], "num_freq": 32},
    "LMLIIF": {"latent_dims": [64]},
    "ContinuousShuffleSR": {"num_feat": 64},
    "SRNO": {"width": 64, "num_heads": 4, "hidden_dim": 64},
}
OF_ONE_SCALE = {"PixelShuffleSR", "FixedScaleSR"}

_HALVED = {"type": "MultiStepLR", "periods": None, "restart_weights": None, "eta_min": None,
           "milestones": [80, 160, 240, 320], "gamma": 0.5}  # fmt: skip
# Changes to the training settings of LIIF. Each variant changes one of them, except `official`, which uses all settings
# of the LIIF paper.
RECIPE: dict[str, Changes] = {
    "LIIF": {},
    "official": {
        "network_g": {"input_skip": None},
        "train": {"optim_g": {"lr": 1e-4}, "scheduler": _HALVED, "warmup_iter": -1},
    },
    "no input_skip": {"network_g": {"input_skip": None}},
    "halved instead of cosine": {"train": {"scheduler": _HALVED}},
    "learning rate 3e-3": {"train": {"optim_g": {"lr": 3e-3}}},
    "EMA 0.99": {"train": {"ema_decay": 0.99}},
    "L2": {"train": {"pixel_opt": {"type": "MSELoss"}}},
    "scales 2 to 4": {"datasets": {"train": {"scale_range": [2, 4]}}},
    "18 patches of 16": {"datasets": {"train": {"lq_size": 16, "sample_q": 256, "batch_size_per_gpu": 18}}},
    "2 patches of 48": {"datasets": {"train": {"lq_size": 48, "sample_q": 2304, "batch_size_per_gpu": 2}}},
}


def decoders() -> dict[str, Changes]:
    """Return, for each arbitrary-scale network, the changes that select it with the common encoder."""
    found = {}
    for name in list_archs():
        if name not in OF_ONE_SCALE:
            known = inspect.signature(find_arch(name).__init__).parameters  # type: ignore[misc]
            block = {"hidden_dims": None, **WIDTH_64.get(name, {}), "type": name}
            found[name] = {"network_g": block if "input_skip" in known else {**block, "input_skip": None}}
    return found


class Comparison(NamedTuple):
    """Variants of a training run, and the test sets on which they are compared.

    Attributes:
        options: name of the file in `options/` that contains the common options.
        variants: label -> changes.
        seeds: random seeds. Each variant is trained once per seed.
        sets: test set -> scales.
        tables: names of the tables in docs/comparison.md.
    """

    options: str
    variants: Mapping[str, Changes]
    seeds: Sequence[int]
    sets: Mapping[str, Sequence[float]]
    tables: Sequence[str] = ()


def changed(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with `changes` merged in, block by block; None removes an option."""
    result = dict(options)
    for key, value in changes.items():
        result[key] = changed(result[key], value) if isinstance(value, Mapping) else value
    return {key: value for key, value in result.items() if value is not None or key not in changes}


def with_iterations(options: dict[str, Any], iterations: int) -> dict[str, Any]:
    """Return options with the number of iterations changed. Warm-up and schedule are stretched accordingly."""
    train = options["train"]
    if iterations == train["total_iter"]:
        return options

    def stretched(n: int) -> int:
        return round(n * iterations / train["total_iter"])

    warmup = train.get("warmup_iter", -1)
    scheduler = {key: [stretched(n) for n in value] if key in ("periods", "milestones") else value
                 for key, value in train["scheduler"].items()}  # fmt: skip
    own = {"total_iter": iterations, "warmup_iter": stretched(warmup) if warmup > 0 else warmup, "scheduler": scheduler}
    return {**options, "name": f"{options['name']}_{iterations}_iterations", "train": {**train, **own}}


def train(variant: str, options: Mapping[str, Any], seed: int) -> Path:
    """Train or resume a variant, unless it is finished, and return its checkpoint.

    Raises:
        LIIFError: the folder was trained with other options, or training fails.
    """
    name = f"{options['name']}_{re.sub('[^A-Za-z0-9.-]+', '_', variant)}_{seed}"
    own = {**options, "name": name, "manual_seed": seed}
    folder, path = Path("experiments", name), Path("experiments", f"{name}.yml")
    text = yaml.safe_dump(own, sort_keys=False)
    if folder.exists() and not (path.exists() and path.read_text(encoding="utf-8") == text):
        raise LIIFError(f"{folder}: was trained with other options; move it away to train again")
    trained = folder / "models" / "net_g_latest.pth"
    if not trained.exists():
        check_output(path, [".yml"])
        write(path, text.encode())
        command = [sys.executable, "-m", "liif_basicsr.train", "-opt", str(path), "--auto_resume"]
        status = subprocess.run(command, check=False).returncode
        if status:
            raise LIIFError(f"{variant}: training ended with exit status {status}; see its output above")
    return trained


COMPARISONS = {
    "paper": Comparison("train_controlled.yml", PAPER, [0], dict.fromkeys(("Set5", "Set14"), (2, 3, 4, 6, 8, 12))),
    "decoders": Comparison(
        "train_controlled_tiny.yml", decoders(), [0, 1, 2], {"Set5": (2, 4), "Set14": (2, 4), "Kodak24": (4,)},
        ["decoders", "equal time"],
    ),
    "recipe": Comparison("train_controlled_tiny.yml", RECIPE, [0, 1, 2], {"Set5": (2, 4), "Set14": (2, 4)}, ["recipe"]),
}  # fmt: skip
Trained = dict[str, dict[int, Path]]


def print_table(trained: Trained, sets: Mapping[str, Sequence[float]], args: Any) -> None:
    """Print the table of all variants by running tables.py."""
    networks = ["bicubic", *(f"{variant}={next(iter(paths.values()))}" for variant, paths in trained.items())]
    command = [sys.executable, str(ROOT / "scripts" / "tables.py"), *networks, "--sets", *sets, "--data", args.data]
    command += ["--scales", *(f"{scale:g}" for scale in next(iter(sets.values())))]
    if subprocess.run([*command, "--metrics", "psnr", "--out", str(args.out)], check=False).returncode:
        raise LIIFError("tables.py failed; see its message above")


def open_all(sets: Mapping[str, Sequence[float]], data: str) -> list[EvalSet]:
    """Open each set at its scales."""
    return [s for name, scales in sets.items() for s in open_sets(name, data, [scale_pair(s, 1) for s in scales])]


def scales_of_sets(args: argparse.Namespace, comparison: Comparison) -> dict[str, Sequence[float]]:
    """Return the scales of each set: from the command line if they are set there, else from the comparison."""
    return {name: args.scales or comparison.sets.get(name, (2, 4)) for name in args.sets or comparison.sets}


def train_all(variants: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> Trained:
    """Train the variants that are not trained yet: all with the first seed, then all with the second, and so on."""
    paths = {(name, seed): train(name, options, seed) for seed in seeds for name, options in variants.items()}
    return {name: {seed: paths[name, seed] for seed in seeds} for name in variants}


def compare(args: argparse.Namespace, comparison: Comparison, variants: dict[str, Any], chosen: list[str]) -> None:
    """Train the chosen variants of `decoders` or `recipe`, and write their tables and figure.

    Args:
        args: the command line.
        comparison: the comparison.
        variants: variant -> options. The step times of all variants are measured together.
        chosen: names of the variants to train.
    """
    for table in comparison.tables:
        split_page(args.page, table)
    check_output(args.figure, [".png"])
    seeds, kept = args.seeds or comparison.seeds, Path("experiments", variants["LIIF"]["name"])
    trained = train_all({name: variants[name] for name in chosen}, seeds)
    works = {name: training_step(options) for name, options in variants.items()}
    steps = alternate(works, Path(f"{kept}_{args.comparison}_steps.json"))
    eval_sets, results = open_all(scales_of_sets(args, comparison), args.data), Results(args.results)
    rows = measure_psnr(trained, eval_sets, results)
    if args.comparison == "recipe":
        times = ["", *(f"{steps[name] * 1e3:.0f}" for name in chosen)]
        write_table("recipe", "training", {"CPU ms per training step": times}, rows, args.page)
        return
    checkpoints = {name: paths[seeds[0]] for name, paths in trained.items()}
    costs = measure_costs(checkpoints, steps, Path(f"{kept}_rendering.json"))
    write_table("decoders", "network", cost_columns([None, *(costs[name] for name in chosen)]), rows, args.page)
    draw(rows, costs, args.figure)
    # Train again, each network for as many iterations as fit into the CPU time of LIIF's run.
    total = variants["LIIF"]["train"]["total_iter"]
    counts = {name: max(1, round(total * steps["LIIF"] / steps[name])) for name in chosen}
    trained = train_all({name: with_iterations(variants[name], n) for name, n in counts.items()}, seeds)
    rows = measure_psnr(trained, eval_sets, results)
    write_table("equal time", "network", {"iterations": ["", *map(str, counts.values())]}, rows, args.page)


def run(args: argparse.Namespace) -> None:
    """Train the missing variants, and print or write their tables."""
    comparison = COMPARISONS[args.comparison]
    options = read(args.options or str(ROOT / "options" / comparison.options))
    chosen = args.variants or list(comparison.variants)
    for name in chosen:
        if name not in comparison.variants:
            raise LIIFError(f"--variants: unknown {name!r}{suggest(name, comparison.variants)}")
    variants = {name: changed(options, changes) for name, changes in comparison.variants.items()}
    if args.iterations is not None:
        variants = {name: with_iterations(own, args.iterations) for name, own in variants.items()}
    if args.comparison != "paper":
        compare(args, comparison, variants, chosen)
        return
    trained = train_all({name: variants[name] for name in chosen}, args.seeds or comparison.seeds)
    print_table(trained, scales_of_sets(args, comparison), args)


def main() -> int:
    """Parse the command line, train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=COMPARISONS, help="the comparison to run")
    parser.add_argument("--options", help="file with the common options (default: the comparison's own)")
    parser.add_argument("--variants", nargs="+", metavar="VARIANT", help="variants to train (default: all)")
    parser.add_argument("--iterations", type=int, metavar="N",
                        help="iterations of each run; warm-up and schedule are stretched (default: the options' own)")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds, with one run each (default: the comparison's own)")
    parser.add_argument("--sets", nargs="+", help="test sets, as in tables.py (default: the comparison's own)")
    parser.add_argument("--scales", nargs="+", type=float, help="test scales (default: the comparison's own)")
    parser.add_argument("--data", default="datasets", help="folder of the sets (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results/controlled.json"),
                        help="file for the PSNR results of `decoders` and `recipe` (default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("results/controlled.md"),
                        help="file for the table of `paper` (default: %(default)s)")  # fmt: skip
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "comparison.md",
                        help="page with the tables of `decoders` and `recipe` (default: %(default)s)")  # fmt: skip
    parser.add_argument("--figure", type=Path, default=ROOT / "assets" / "decoders.png",
                        help="file for the figure of `decoders` (default: %(default)s)")  # fmt: skip
    args = parser.parse_args()
    return run_script("controlled_run.py", lambda: run(args), "run it again to continue")


if __name__ == "__main__":
    sys.exit(main())
