"""LIIFGANModel extends LIIFModel as SRGANModel extends SRModel in BasicSR."""
from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import Tensor

from liif_basicsr.config import training
from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError, errors_in
from liif_basicsr.models.checks import check_network_block
from liif_basicsr.models.liif_model import LIIFModel
from liif_basicsr.models.losses import as_images, samples_windows
from liif_basicsr.models.optimization import set_fused
from liif_basicsr.registration import register_in


@register_in("MODEL_REGISTRY")
class LIIFGANModel(LIIFModel):
    """Trains a network and a discriminator, which judges square windows of images.

    In addition to the options of LIIFModel, it has those of SRGANModel: `network_d`, `train: gan_opt, optim_d,
    net_d_iters, net_d_init_iters`, `path: pretrain_network_d`. Samples must be windows
    (`datasets: train: sample: patch`).

    Unlike in SRGANModel, both optimizers step at the end of an iteration, and neither steps if a loss or gradient is
    not finite.

    Raises:
        LIIFError: as LIIFModel; also if `network_d` is not a known architecture or does not accept the windows.
    """

    train_options = training.GANTrain
    path_options = training.GANPath

    @classmethod
    def check_options(cls, opt: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check the options of LIIFModel, and the block `network_d`."""
        train, val = super().check_options(opt)
        if opt["is_train"]:
            check_network_block(opt.get("network_d"), "network_d")
            returned = opt["network_g"].get("num_out_ch", 3)
            judged = opt["network_d"].get("num_in_ch", returned)
            if judged != returned:
                raise LIIFError(f"network_d: num_in_ch is {judged}, but network_g returns {returned} channels; "
                                f"set num_in_ch: {returned}")  # fmt: skip
            if not samples_windows(opt):
                raise LIIFError("network_d: needs images, but the samples are single pixels; set datasets: train: "
                                "sample: patch")  # fmt: skip
        return train, val

    def init_training_settings(self) -> None:
        """Build the discriminator and its loss, then everything that LIIFModel builds."""
        with errors_in("network_d", RuntimeError):
            self.net_d = self.model_to_device(build_network(self.opt["network_d"]))
        self.print_network(self.net_d)
        path = self.opt["path"]
        if path.get("pretrain_network_d"):
            strict, key = path.get("strict_load_d", True), path.get("param_key_d", "params")
            self.load_network(self.net_d, path["pretrain_network_d"], strict, key)
        self._check_windows()
        self.net_d.train()
        with errors_in("train: gan_opt", RuntimeError):
            self.cri_gan = build_loss(self.train_opt["gan_opt"]).to(self.device)
        super().init_training_settings()

    def _check_windows(self) -> None:
        """Raise LIIFError unless the discriminator accepts a batch of windows of `sample_q` pixels."""
        channels = self.opt["network_g"].get("num_out_ch", 3)
        windows = as_images(torch.zeros(2, self.opt["datasets"]["train"]["sample_q"], channels, device=self.device))
        side = windows.shape[-1]
        self.net_d.eval()
        where = f"network_d: does not accept windows of {side}x{side} pixels (datasets: train: sample_q)"
        with errors_in(where, RuntimeError):
            with torch.no_grad():
                self.get_bare_model(self.net_d)(windows)

    def setup_optimizers(self) -> None:
        """Set up the optimizers of both networks."""
        super().setup_optimizers()
        with errors_in("train: optim_d"):
            options = dict(self.opt["train"]["optim_d"])
            set_fused(options, self.device)
            self.optimizer_d = self.get_optimizer(options.pop("type"), self.net_d.parameters(), **options)
        self.optimizers.append(self.optimizer_d)

    def train_step(self, current_iter: int) -> None:
        """Train both networks on the current batch.

        The generator is trained only every `net_d_iters` iterations, and not in the first `net_d_init_iters`.
        """
        self.optimizer_g.zero_grad()
        self.optimizer_d.zero_grad()
        losses, optimizers = self.compute_losses(), [self.optimizer_d]
        waits = current_iter % self.train_opt["net_d_iters"] or current_iter <= self.train_opt["net_d_init_iters"]
        if waits:
            losses.clear()
        else:
            self.net_d.requires_grad_(False)
            losses["l_g_gan"] = self.cri_gan(self._judge(self.compared["output"]), True, is_disc=False)
            self.scaler.scale(sum(losses.values())).backward()
            optimizers.append(self.optimizer_g)
        losses.update(self._train_discriminator())
        self.finish_step(current_iter, losses, optimizers)

    def _train_discriminator(self) -> OrderedDict[str, Tensor]:
        """Accumulate the discriminator's gradients on real and on generated windows.

        Returns:
            The discriminator's losses and mean outputs, by name in the log.
        """
        self.net_d.requires_grad_(True)
        losses = OrderedDict()
        fake = self.compared["output"].detach()
        for name, images, is_real in (("real", self.compared["gt"], True), ("fake", fake, False)):
            judged = self._judge(images)
            losses[f"l_d_{name}"] = self.cri_gan(judged, is_real, is_disc=True)
            self.scaler.scale(losses[f"l_d_{name}"]).backward()
            losses[f"out_d_{name}"] = judged.detach().mean()
        return losses

    def _judge(self, images: Tensor) -> Tensor:
        """Run the discriminator in float32. In bfloat16, it would hardly learn, because rounding removes textures."""
        with autocast(self.device, "float32"):
            return self.net_d(images)

    def save_networks(self, current_iter: int) -> None:
        """Save both networks."""
        self.save_network(self.net_d, "net_d", current_iter)
        super().save_networks(current_iter)
