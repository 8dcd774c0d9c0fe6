"""LIIFGANModel: to LIIFModel what BasicSR's SRGANModel is to SRModel."""
from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import Tensor

from liif_basicsr.config import schema
from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError, errors_in
from liif_basicsr.models import model_options
from liif_basicsr.models.liif_model import LIIFModel
from liif_basicsr.models.patches import of_patches, window_side
from liif_basicsr.registration import register_in


@register_in("MODEL_REGISTRY")
class LIIFGANModel(LIIFModel):
    """Trains a LIIF (or another network of this plugin) with a discriminator that judges windows of any scale.

    All that LIIFModel does, and SRGANModel's options: `network_d`, `train: gan_opt, optim_d, net_d_iters,
    net_d_init_iters`, `path: pretrain_network_d`. Samples must be windows (`datasets: train: sample: patch`).

    Differs from SRGANModel: both optimizers step at the end, and neither does where a number is not finite.

    Raises:
        LIIFError: as LIIFModel, or a discriminator that does not exist or does not take the windows.
    """

    train_fields = schema.TRAIN_GAN
    path_fields = schema.PATH_GAN

    @classmethod
    def check_options(cls, opt: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """As LIIFModel, and the block `network_d`."""
        train, val = super().check_options(opt)
        if opt["is_train"]:
            model_options.check_network_block(opt.get("network_d"), "network_d")
            if not of_patches(opt):
                raise LIIFError("network_d: judges more than a pixel; set datasets: train: sample: patch for it")
        return train, val

    def init_training_settings(self) -> None:
        """Make the discriminator and its loss; then as LIIFModel does it."""
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
        """Raise LIIFError unless the discriminator takes windows of `sample_q` pixels."""
        side = window_side(self.opt)
        self.net_d.eval()
        with errors_in(f"network_d: does not take the windows of {side}x{side} that sample_q asks for", RuntimeError):
            with torch.no_grad():
                self.get_bare_model(self.net_d)(torch.zeros(1, 3, side, side, device=self.device))

    def setup_optimizers(self) -> None:
        """As LIIFModel does it; and the discriminator's."""
        super().setup_optimizers()
        with errors_in("train: optim_d"):
            options = dict(self.opt["train"]["optim_d"])
            self.optimizer_d = self.get_optimizer(options.pop("type"), self.net_d.parameters(), **options)
        self.optimizers.append(self.optimizer_d)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step of both networks on the batch that was fed; the generator's every `net_d_iters` iterations."""
        self.seed_step(current_iter)
        self.optimizer_g.zero_grad()
        self.optimizer_d.zero_grad()
        losses, optimizers = self.generator_losses(), [self.optimizer_d]
        waits = current_iter % self.train_opt["net_d_iters"] or current_iter <= self.train_opt["net_d_init_iters"]
        if waits:
            losses.clear()
        else:
            self.net_d.requires_grad_(False)
            losses["l_g_gan"] = self.cri_gan(self._judge(self.judged[0]), True, is_disc=False)
            self.scaler.scale(sum(losses.values())).backward()
            optimizers.append(self.optimizer_g)
        losses.update(self._train_discriminator())
        self.finish_step(current_iter, losses, optimizers)

    def _train_discriminator(self) -> OrderedDict[str, Tensor]:
        """Gradients of the discriminator, on true windows and then on the generator's; its losses."""
        self.net_d.requires_grad_(True)
        losses = OrderedDict()
        for name, images, is_real in (("real", self.judged[1], True), ("fake", self.judged[0].detach(), False)):
            judged = self._judge(images)
            losses[f"l_d_{name}"] = self.cri_gan(judged, is_real, is_disc=True)
            self.scaler.scale(losses[f"l_d_{name}"]).backward()
            losses[f"out_d_{name}"] = judged.detach().mean()
        return losses

    def _judge(self, images: Tensor) -> Tensor:
        """What the discriminator says, in float32: in bfloat16 textures round away, and it hardly learns."""
        with autocast(self.device, "float32"):
            return self.net_d(images)

    def save(self, epoch: int, current_iter: int) -> None:
        """As LIIFModel; the discriminator is written first, so that a state always has its networks."""
        self.save_network(self.net_d, "net_d", current_iter)
        super().save(epoch, current_iter)
