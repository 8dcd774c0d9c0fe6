"""What LIIFModel measures: validation at several scales, shared out over the ranks."""
from __future__ import annotations

from collections import OrderedDict
from os import path as osp
from typing import Any

import torch
from basicsr.utils import imwrite, tensor2img
from basicsr.utils.dist_util import master_only
from torch.utils.data import DataLoader
from tqdm import tqdm

from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation import validation as val
from liif_basicsr.models.checkpointed_model import CheckpointedModel


class ValidatedModel(CheckpointedModel):
    """A model that validates each set at each of its scales, and logs a line and keeps a best value for each.

    Attributes:
        val_opt: the block `val`, checked.
        val_precision: what networks compute in here.
        results: metrics by set and scale, of the last validation.
    """

    val_opt: dict[str, Any]
    val_precision: str
    results: OrderedDict[str, dict[str, float]]

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
