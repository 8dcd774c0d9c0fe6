"""What LIIFModel writes and resumes from: networks and training states."""
from __future__ import annotations

from os import path as osp
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn

from liif_basicsr.errors import LIIFError, errors_in
from liif_basicsr.hub import checkpoint, find
from liif_basicsr.models.pruning import prune, remove_partial
from liif_basicsr.models.state import check_state


class CheckpointedModel(SRModel):
    """SRModel with atomic, self-describing checkpoints and exact resuming.

    A training state holds iteration, epoch, optimizers, schedulers, the scaler of float16 and the best values;
    parameters and their EMA are in the network's file, which is written first. What is drawn at random in a step
    (such as SwinIR's drop path) follows from `manual_seed`, iteration and rank alone, so there is nothing of it to
    store. Through `python -m liif_basicsr.train` the same holds for the data: there, on one kind of processor, a run
    that is resumed at a checkpoint ends with the very weights of one that went through, with any number of workers.

    Where `logger: keep_checkpoints` is N, only the newest N checkpoints are kept, those with a best value of a
    validation, and those at multiples of `logger: keep_checkpoint_freq`.

    Not exact: under BasicSR's own train.py the epoch begins again, from its first sample, and samples depend on the
    number of workers; validation at the checkpoint's own iteration is not repeated, if the run ended before it;
    kernels that are not deterministic on a GPU (`torch.backends.cudnn.benchmark`, which BasicSR sets) remain so.
    """

    opt: dict[str, Any]
    skipped_steps = 0  # steps that were skipped because a number was not finite

    def seed_step(self, current_iter: int) -> None:
        """Make what the step draws at random a function of manual_seed, iteration and rank."""
        set_random_seed((self.opt["manual_seed"] + current_iter * self.opt["world_size"] + self.opt["rank"]) % 2**32)

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = "params") -> None:
        """Load a checkpoint (ours, BasicSR's or an official one) or a model by name; never running code from it."""
        try:
            data = checkpoint.read(find(load_path))
        except LIIFError as error:
            key = "pretrain_network_d" if net is getattr(self, "net_d", None) else "pretrain_network_g"
            raise LIIFError(f"path: {key}: {error}") from None
        checkpoint.load_params(self.get_bare_model(net), data, load_path, param_key, strict)
        get_root_logger().info(f"Loaded {type(self.get_bare_model(net)).__name__} from {load_path}.")

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = "params"
    ) -> None:
        """Write `net_g_<iter>.pth` (or another label's), whole or not at all, with the options that make the network.

        Raises:
            LIIFError: it cannot be written, or a parameter is not finite; what was saved before is kept.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        block = net_label.replace("net", "network", 1)
        data: dict[str, Any] = {block: checkpoint.plain(self.opt[block])}
        for key, one in zip(keys, nets, strict=True):
            data[key] = {k: v.detach().cpu().contiguous() for k, v in self.get_bare_model(one).state_dict().items()}
            self._check_finite(data[key])
        name = "latest" if current_iter == -1 else current_iter
        checkpoint.save(osp.join(self.opt["path"]["models"], f"{net_label}_{name}.pth"), data)

    def _check_finite(self, params: dict[str, Tensor]) -> None:
        broken = next((name for name, value in params.items() if not torch.isfinite(value).all()), None)
        if broken:
            last = self.newest_checkpoint() or "none yet"
            raise LIIFError(f"the network is not saved, {broken} is not finite; the last good checkpoint: {last}")

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `<iter>.state`, whole or not at all; then remove old checkpoints, where an option asks for it."""
        if current_iter == -1:
            return
        state = {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.scaler.state_dict(),
            "best_metric_results": self._best(),
            "skipped_steps": self.skipped_steps,
        }
        checkpoint.save(osp.join(self.opt["path"]["training_states"], f"{current_iter}.state"), checkpoint.plain(state))
        keep = self.opt["logger"].get("keep_checkpoints")
        if keep:
            prune(*self._folders(), current_iter, keep, self._is_milestone)

    def _folders(self) -> tuple[Path, Path]:
        return Path(self.opt["path"]["models"]), Path(self.opt["path"]["training_states"])

    def _is_milestone(self, iteration: int) -> bool:
        freq = self.opt["logger"].get("keep_checkpoint_freq")
        best = [value["iter"] for metrics in self._best().values() for value in metrics.values()]
        return iteration in best or bool(freq) and iteration % freq == 0

    def _best(self) -> dict[str, dict[str, dict[str, Any]]]:
        return getattr(self, "best_metric_results", {})  # there is none before the first validation

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Take up a training state, also one that BasicSR's own models wrote."""
        with errors_in(f"{self.opt['path']['resume_state']}: does not fit this network and its train options"):
            check_state(resume_state, self.optimizers, self.schedulers)
            # A scheduler would take any name as an attribute of its own.
            own = [scheduler.state_dict() for scheduler in self.schedulers]
            states = zip(resume_state["schedulers"], own, strict=True)
            known = [{key: value for key, value in state.items() if key in names} for state, names in states]
            super().resume_training({**resume_state, "schedulers": known})
            if resume_state.get("scaler") and self.scaler.is_enabled():
                self.scaler.load_state_dict(resume_state["scaler"])
        if self.opt["rank"] == 0:
            for folder in self._folders():
                remove_partial(folder)
        self.skipped_steps = resume_state.get("skipped_steps", 0)
        metrics = (self.opt.get("val") or {}).get("metrics") or {}
        best = resume_state.get("best_metric_results", {})
        self.best_metric_results = {label: values for label, values in best.items() if values.keys() == metrics.keys()}

    def newest_checkpoint(self) -> Path | None:
        """The network's newest numbered file, or None before the first."""
        stems = (file.stem.removeprefix("net_g_") for file in self._folders()[0].glob("net_g_*.pth"))
        newest = max((int(stem) for stem in stems if stem.isdecimal()), default=None)
        return None if newest is None else self._folders()[0] / f"net_g_{newest}.pth"
