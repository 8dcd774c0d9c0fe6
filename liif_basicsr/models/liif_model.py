"""LIIFModel: BasicSR's SRModel for networks that are queried at coordinates."""
from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from liif_basicsr.config import schema
from liif_basicsr.config.options import check_block
from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError, errors_in
from liif_basicsr.losses.grid_loss import grid_loss
from liif_basicsr.models import model_options
from liif_basicsr.models.distillation import freeze, make_teacher, split_encoder
from liif_basicsr.models.finite import find_nonfinite
from liif_basicsr.models.patches import as_images, check_window_losses, of_patches, window_side
from liif_basicsr.models.validated_model import ValidatedModel
from liif_basicsr.registration import register_in


@register_in("MODEL_REGISTRY")
class LIIFModel(ValidatedModel):
    """Trains and validates a LIIF (or another network of this plugin) in BasicSR's loops.

    Beyond SRModel: coordinates and cells; `train: amp` and `val: amp` (auto, bfloat16, float16); validation at several
    scales, shared out over the ranks, with a line of metrics and a folder of images for each set and scale, and
    a table under `results/` at test time; checkpoints that are written atomically and
    describe their network, old ones removed as `logger: keep_checkpoints` says; a loss or gradient that is not finite
    ends the run, or its step is skipped as `train: skip_nonfinite` says; distillation by `train: teacher`.

    Raises:
        LIIFError: an option of `network_g`, `train`, `val` or `logger` that does not exist or is of the wrong type, or
            a checkpoint that is damaged or of another network.
    """

    gt: Tensor
    judged: tuple[Tensor, Tensor]
    # What these blocks may say; a subclass with options of its own extends them.
    train_fields = schema.TRAIN
    val_fields = schema.VAL
    path_fields = schema.PATH
    logger_fields = schema.LOGGER

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
            check_window_losses(train, opt)
        # In training BasicSR validates only where there is such a block.
        block = opt.get("val") or ({"save_img": False} if opt["is_train"] else {})
        validation = check_block(block, cls.val_fields, "val")
        if opt["is_train"] and opt.get("val") and validation["val_freq"] is None:
            raise LIIFError("val: option 'val_freq' is missing; take the whole block away to train without validation")
        model_options.check_metrics(validation["metrics"])
        return train, validation

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_opt, self.val_opt = self.check_options(opt)
        self.skip_nonfinite = self.train_opt.get("skip_nonfinite")
        self.results: OrderedDict[str, dict[str, float]] = OrderedDict()
        with errors_in("network_g"):  # all other errors name their block
            super().__init__(opt)
        if not hasattr(self.get_bare_model(self.net_g), "render"):
            kind = opt["network_g"]["type"]
            raise LIIFError(f"network_g: {kind} cannot be queried at coordinates, which LIIFModel needs")
        self.precision = model_options.precision_of(self.train_opt.get("amp"), self.device, "train: amp")
        self.val_precision = model_options.precision_of(self.val_opt["amp"], self.device, "val: amp")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """As BasicSR does it, also without a GPU; `train: freeze` comes first, for DDP has to know."""
        if net is self.net_g:
            freeze(net, self.train_opt.get("freeze", []))
        if self.opt["dist"] and self.device.type == "cpu":
            return DistributedDataParallel(net)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        """As BasicSR does it, and the teacher; errors of its losses name the block `train`."""
        self.teacher = make_teacher(self.train_opt["teacher"], self.opt, self.device)
        opt, alone = self.opt, self.teacher and not (self.train_opt["pixel_opt"] or self.train_opt["perceptual_opt"])
        if alone:  # BasicSR refuses to train without a loss of its own
            self.opt = {**opt, "train": {**opt["train"], "pixel_opt": {"type": "L1Loss"}}}
        with errors_in("train: pixel_opt, perceptual_opt", RuntimeError):
            super().init_training_settings()
        if alone:
            self.opt, self.cri_pix = opt, None
        self.cri_texture = self._texture_loss(self.train_opt["texture_opt"])

    def _texture_loss(self, block: dict[str, Any] | None) -> nn.Module | None:
        """The loss that `train: texture_opt` names, which must take the windows; None where there is no such block."""
        if not block:
            return None
        side = window_side(self.opt)
        window = torch.zeros(1, 3, side, side, device=self.device)
        with errors_in("train: texture_opt", RuntimeError):
            criterion = build_loss(block).to(self.device)
            criterion(window, window)
        return criterion

    def setup_optimizers(self) -> None:
        """As BasicSR does it; `encoder_lr_mul` in `optim_g` gives the encoder a learning rate of its own."""
        factor = self.opt["train"]["optim_g"].pop("encoder_lr_mul", 1)
        with errors_in("train: optim_g"):
            super().setup_optimizers()
            if factor != 1:
                split_encoder(self.optimizer_g, self.get_bare_model(self.net_g), factor)

    def setup_schedulers(self) -> None:
        """As BasicSR does it; errors of the scheduler name its block."""
        with errors_in("train: scheduler"):
            super().setup_schedulers()

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch: lq, coord, cell, gt (B, Q, 3) in training; lq and gt (1, 3, H, W) in validation."""
        # Without waiting, where the loader has pinned the memory.
        data = {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in data.items()}
        super().feed_data(data)
        self.query = [data[key] for key in ("coord", "cell") if key in data]
        self.paths = data.get("gt_path", data.get("lq_path"))

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the batch that was fed."""
        self.seed_step(current_iter)
        self.optimizer_g.zero_grad()
        losses = self.generator_losses()
        self.scaler.scale(sum(losses.values())).backward()
        self.finish_step(current_iter, losses, [self.optimizer_g])

    def generator_losses(self) -> OrderedDict[str, Tensor]:
        """Run network and teacher on the batch; `judged` becomes output and gt, as images where samples are patches."""
        with autocast(self.device, self.precision):
            output = self.net_g(self.lq, *self.query)
            target = self.teacher(self.lq, *self.query) if self.teacher else None
        self.output = output.float()
        pair = self.output, self.gt
        self.judged = (as_images(pair[0]), as_images(pair[1])) if of_patches(self.opt) else pair
        losses = self.losses(*self.judged)
        if self.teacher and target is not None:
            losses["l_teacher"] = self.teacher.loss(self.output, target)
        if weight := self.train_opt["grid_weight"]:
            cell = self.query[1][:, 0]
            losses["l_grid"] = weight * grid_loss(*self.judged, 2 / cell.new_tensor(self.lq.shape[-2:]) / cell)
        return losses

    def finish_step(self, current_iter: int, losses: dict[str, Tensor], optimizers: list[Optimizer]) -> None:
        """Step the optimizers, unless a loss or a gradient is not finite."""
        self.step_losses = {name: loss.detach() for name, loss in losses.items()}
        bad = find_nonfinite(losses, self._gradients_to_check(optimizers), self.paths or [])
        if bad:
            self._skip_or_stop(current_iter, "; ".join(bad))
            return
        for optimizer in optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def get_current_log(self) -> OrderedDict[str, float]:
        """The losses of the last step, averaged over the ranks; read from the device only when they are logged."""
        self.log_dict = self.reduce_loss_dict(self.step_losses)
        if self.skipped_steps:
            self.log_dict["skipped"] = self.skipped_steps
        return self.log_dict

    def losses(self, output: Tensor, gt: Tensor) -> OrderedDict[str, Tensor]:
        """BasicSR's losses by name, of float32 outputs (B, Q, 3), or (B, 3, p, p) where samples are patches."""
        losses = OrderedDict()
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            percep, style = self.cri_perceptual(output, gt)
            losses.update({k: v for k, v in (("l_percep", percep), ("l_style", style)) if v is not None})
        if self.cri_texture:
            losses["l_texture"] = self.cri_texture(output, gt)
        return losses

    def _gradients_to_check(self, optimizers: list[Optimizer]) -> list[Tensor]:
        """All; but none where the scaler of float16 looks at them, and can still lower its scale."""
        if self.scaler.is_enabled() and self.scaler.get_scale() > 1:
            return []
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        return [param.grad for group in groups for param in group["params"] if param.grad is not None]

    def _skip_or_stop(self, current_iter: int, bad: str) -> None:
        """Skip a step, as often as `train: skip_nonfinite` allows, or end the run."""
        problem = f"iteration {current_iter}: {bad}"
        if self.skipped_steps == self.skip_nonfinite:
            raise LIIFError(
                f"{problem}; {self.skipped_steps} steps before it were skipped (train: skip_nonfinite); the last good "
                f"checkpoint: {self.newest_checkpoint() or 'none yet'}. "
                "A lower learning rate or train: amp: ~ often helps"
            )
        self.skipped_steps += 1
        get_root_logger().warning(f"{problem}; step skipped, number {self.skipped_steps} of {self.skip_nonfinite}")
