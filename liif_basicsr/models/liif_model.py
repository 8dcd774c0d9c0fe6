"""LIIFModel: BasicSR's SRModel for networks that answer coordinates."""
from __future__ import annotations

from collections import OrderedDict
from os import path as osp
from typing import Any

import torch
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from liif_basicsr.evaluation import validation as val
from liif_basicsr.models import model_options
from liif_basicsr.models.checkpointed_model import CheckpointedModel
from liif_basicsr.models.finite import find_nonfinite
from liif_basicsr.models.patches import as_images, check_perceptual, of_patches
from liif_basicsr.utils.errors import LIIFError, errors_in
from liif_basicsr.utils.options import check_block
from liif_basicsr.utils.precision import autocast


class LIIFModel(CheckpointedModel):
    """Trains and validates a LIIF (or another network of this plugin) in BasicSR's loops.

    Beyond SRModel: coordinates and cells; `train: amp` and `val: amp` (auto, bfloat16, float16); validation at several
    scales, shared out over the ranks, with a line of metrics and a folder of images for each set and scale, and
    a table under `results/` at test time; checkpoints that are written whole and tell what network they hold, the
    old ones taken away by `logger: keep_checkpoints`; a loss or gradient that is not finite stops the run, or its step
    is skipped by `train: skip_nonfinite`.

    Raises:
        LIIFError: an option of `network_g`, `train`, `val` or `logger` that does not exist or is of the wrong type, or
            a checkpoint that is damaged or of another network.
    """

    # What these blocks may say; a subclass with options of its own extends them.
    train_fields = model_options.TRAIN
    val_fields = model_options.VAL
    path_fields = model_options.PATH
    logger_fields = model_options.LOGGER

    @classmethod
    def check_options(cls, opt: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check the blocks `network_g`, `path`, `train`, `logger` and `val`.

        Returns:
            `train` (empty at test time) and `val`, with their defaults.
        """
        model_options.check_network_block(opt.get("network_g"))
        check_block(opt["path"], cls.path_fields, "path")
        train = check_block(opt["train"], cls.train_fields, "train") if opt["is_train"] else {}
        if opt["is_train"]:
            model_options.check_logger(opt["logger"], cls.logger_fields)
            model_options.check_schedule(train)
            check_perceptual(train, opt)
        # In training BasicSR validates only where there is such a block.
        block = opt.get("val") or ({"save_img": False} if opt["is_train"] else {})
        validation = check_block(block, cls.val_fields, "val")
        if opt["is_train"] and opt.get("val") and validation["val_freq"] is None:
            raise LIIFError("val: option 'val_freq' is missing; take the whole block away to train without validation")
        model_options.check_metrics(validation["metrics"])
        return train, validation

    def __init__(self, opt: dict[str, Any]) -> None:
        train, self.val_opt = self.check_options(opt)
        self.skip_nonfinite = train.get("skip_nonfinite")
        self.results: OrderedDict[str, dict[str, float]] = OrderedDict()
        with errors_in("network_g"):  # all else has told of itself
            super().__init__(opt)
        if not hasattr(self.get_bare_model(self.net_g), "render"):
            raise LIIFError(f"network_g: {opt['network_g']['type']} does not answer coordinates, as LIIFModel needs it")
        self.precision = model_options.precision_of(train.get("amp"), self.device, "train: amp")
        self.val_precision = model_options.precision_of(self.val_opt["amp"], self.device, "val: amp")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As BasicSR does it, also without a GPU."""
        if self.opt["dist"] and self.device.type == "cpu":
            return DistributedDataParallel(net)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        """As BasicSR does it; what its losses refuse is told as of the block `train`."""
        with errors_in("train: pixel_opt, perceptual_opt", RuntimeError):
            super().init_training_settings()

    def setup_optimizers(self) -> None:
        """As BasicSR does it; what the optimizer refuses is told as of its block."""
        with errors_in("train: optim_g"):
            super().setup_optimizers()

    def setup_schedulers(self) -> None:
        """As BasicSR does it; what the scheduler refuses is told as of its block."""
        with errors_in("train: scheduler"):
            super().setup_schedulers()

    # Training ----------------------------------------------------------------------------------------------

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch: lq, coord, cell, gt (B, Q, 3) in training; lq and gt (1, 3, H, W) in validation."""
        super().feed_data(data)
        self.query = [data[key].to(self.device) for key in ("coord", "cell") if key in data]
        self.paths = data.get("gt_path", data.get("lq_path"))

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the batch that was fed."""
        self.seed_step(current_iter)
        self.optimizer_g.zero_grad()
        with autocast(self.device, self.precision):
            self.output = self.net_g(self.lq, *self.query)
        pair = self.output.float(), self.gt
        losses = self.losses(*map(as_images, pair) if of_patches(self.opt) else pair)
        self.scaler.scale(sum(losses.values())).backward()
        self.log_dict = self.reduce_loss_dict(losses)
        bad = find_nonfinite(losses, self._gradients_to_check(), self.paths or [])
        if bad:
            self._skip_or_stop(current_iter, "; ".join(bad))
        else:
            self.scaler.step(self.optimizer_g)
            self.scaler.update()
            if self.ema_decay > 0:
                self.model_ema(decay=self.ema_decay)
        if self.skipped_steps:
            self.log_dict["skipped"] = self.skipped_steps

    def losses(self, output: Tensor, gt: Tensor) -> OrderedDict[str, Tensor]:
        """BasicSR's losses by name, of float32 outputs (B, Q, 3), or (B, 3, p, p) where samples are patches."""
        losses = OrderedDict()
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            percep, style = self.cri_perceptual(output, gt)
            losses.update({k: v for k, v in (("l_percep", percep), ("l_style", style)) if v is not None})
        return losses

    def _gradients_to_check(self) -> list[Tensor]:
        """All; but none where the scaler of float16 looks at them, and can still lower its scale."""
        if self.scaler.is_enabled() and self.scaler.get_scale() > 1:
            return []
        groups = self.optimizer_g.param_groups
        return [param.grad for group in groups for param in group["params"] if param.grad is not None]

    def _skip_or_stop(self, current_iter: int, bad: str) -> None:
        """Count a step that is not made, which `train: skip_nonfinite` allows so many times, or end the run."""
        told = f"iteration {current_iter}: {bad}"
        if self.skipped_steps == self.skip_nonfinite:
            raise LIIFError(
                f"{told}; {self.skipped_steps} steps before it were skipped (train: skip_nonfinite); the last good "
                f"checkpoint: {self.newest_checkpoint() or 'none yet'}. "
                "A lower learning rate or train: amp: ~ often helps"
            )
        self.skipped_steps += 1
        get_root_logger().warning(f"{told}; step skipped, number {self.skipped_steps} of {self.skip_nonfinite}")

    # Validation --------------------------------------------------------------------------------------------

    def test(self, size: tuple[int, int] | None = None) -> None:
        """Enlarge what was fed to `size` (H, W), or by the network's own scale, with the EMA where there is one."""
        net = getattr(self, "net_g_ema", None) or self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        if size is None:
            size = tuple(round(n * net.scale) for n in self.lq.shape[-2:])
        with torch.no_grad(), autocast(self.device, self.val_precision):
            self.output = net.render(self.lq, size)
        net.train(training)

    def dist_validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Every rank validates its share; the numbers are those of one process."""
        self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def nondist_validation(self, dataloader: DataLoader, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """Validate one set at each of its scales."""
        if self.is_train:  # at the end, BasicSR's count has gone beyond the last iteration
            current_iter = min(current_iter, self.opt["train"]["total_iter"])
        dataset = dataloader.dataset
        scales = getattr(dataset, "scales", [None])
        per_scale = len(dataset) // len(scales)
        loader, indices = val.share_of(dataset, self.opt["rank"], self.opt["world_size"])
        metrics = self.val_opt["metrics"] or {}
        values = torch.zeros(len(dataset), len(metrics), dtype=torch.float64, device=self.device)
        silent = self.opt["rank"] != 0 or not self.val_opt["pbar"]
        progress = tqdm(loader, desc=dataset.opt["name"], unit="image", disable=silent)
        for index, data in zip(indices, progress, strict=True):
            measured = self._validate_one(dataset, scales[index // per_scale], data)
            values[index] = torch.tensor(measured, dtype=torch.float64)
            if save_img:
                self._save_image(val.set_label(dataset.opt["name"], scales[index // per_scale]), data, current_iter)
        values = val.sum_over_ranks(values)
        if metrics:
            for k, scale in enumerate(scales):
                mean = values[k * per_scale : (k + 1) * per_scale].mean(0).tolist()
                label = val.set_label(dataset.opt["name"], scale)
                self._report(label, dict(zip(metrics, mean, strict=True)), current_iter, tb_logger)

    def _validate_one(self, dataset: Any, scale: tuple[float, float] | None, data: dict[str, Any]) -> list[float]:
        """Enlarge one image; its metrics."""
        self.feed_data(data)
        gt, metrics = data.get("gt"), self.val_opt["metrics"]
        self.test(tuple(gt.shape[-2:]) if gt is not None else None)
        if not metrics:
            return []
        if gt is None:
            raise LIIFError(f"val: metrics: set {dataset.opt['name']} has no ground truth to compare with")
        ratio = scale or (gt.shape[-2] / self.lq.shape[-2], gt.shape[-1] / self.lq.shape[-1])
        protocol = val.protocol_options(getattr(dataset, "protocol", None), ratio)
        return val.measure(self.output, self.gt, metrics, protocol)

    @master_only
    def _report(self, label: str, result: dict[str, float], current_iter: int | str, tb_logger: Any) -> None:
        """Log one line, keep the best values in training, write the table at test time."""
        self.metric_results = result
        if self.is_train:
            self._initialize_best_metric_results(label)
            for metric, value in result.items():
                self._update_best_metric_result(label, metric, value, current_iter)
        self._log_validation_metric_values(current_iter, label, tb_logger)
        self.results[label] = result
        if not self.is_train:
            val.write_table(self.opt["path"]["results_root"], self.results)

    def _save_image(self, label: str, data: dict[str, Any], current_iter: int | str) -> None:
        name = osp.splitext(osp.basename(data["lq_path"][0]))[0]
        suffix = current_iter if self.is_train else self.val_opt["suffix"] or self.opt["name"]
        folder = osp.join(self.opt["path"]["visualization"], label)
        imwrite(tensor2img([self.output]), osp.join(folder, f"{name}_{suffix}.png"))
