"""LIIFModel: BasicSR's SRModel for networks that are queried at coordinates."""
from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable
from os import path as osp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from liif_basicsr.config import training
from liif_basicsr.config.base import validate, with_defaults
from liif_basicsr.config.file import check_top_level
from liif_basicsr.data.base import ArbitraryScaleDataset
from liif_basicsr.data.decode import RANGES, from_unit
from liif_basicsr.data.encode import encode_png, encode_tiff, fits_png
from liif_basicsr.devices import autocast, compiler_errors, gpu_memory_errors, tf32
from liif_basicsr.errors import LIIFError, errors_about, errors_in
from liif_basicsr.evaluation import validation as val
from liif_basicsr.files import write
from liif_basicsr.hub import checkpoint, find
from liif_basicsr.models import checkpoints, checks
from liif_basicsr.models.losses import (
    as_images,
    build_losses,
    check_coordinates,
    check_losses,
    loss_options,
    samples_windows,
)
from liif_basicsr.models.optimization import (
    StepCheck,
    freeze,
    learning_rates,
    load_optimizer,
    set_fused,
    skip_themselves,
    split_encoder,
)
from liif_basicsr.models.self_ensemble import SelfEnsemble
from liif_basicsr.registration import register_in


@register_in("MODEL_REGISTRY")
class LIIFModel(SRModel):
    """Trains and validates a LIIF, or another network of this plugin, in BasicSR's loops.

    It adds to SRModel:
    - coordinates and cells; any number of losses (`train: <name>_opt`, logged as `l_<name>`); distillation
      (`train: teacher`); `train: freeze`; `train: amp` and `val: amp` (auto, tf32, bfloat16, float16);
    - validation at several scales, distributed over the ranks. Each set and scale has its own line of metrics and its
      own folder of images. Testing also writes a table under `results/`;
    - checkpoints that are written atomically and contain the options of their network. Old checkpoints are removed if
      `logger: keep_checkpoints` is set;
    - exact resuming. A training state contains iteration, epoch, optimizers, schedulers, the gradient scaler of float16
      and the best metrics. Random numbers in a step (as in SwinIR's drop path) depend only on `manual_seed`, iteration
      and rank. `python -m liif_basicsr.train` also loads the samples that an uninterrupted run would load next, for any
      number of workers; BasicSR's own train.py restarts the epoch. Resumed runs still differ where GPU kernels are
      nondeterministic;
    - if a loss or gradient is not finite, the step is skipped or the run ends (`train: skip_nonfinite`).

    Raises:
        LIIFError: an option is unknown or invalid, or a checkpoint is damaged or contains another network.
    """

    opt: dict[str, Any]
    gt: Tensor
    # Pydantic models of the option blocks. A subclass that has further options overrides them.
    train_options: type[training.Train] = training.Train
    val_options: type[training.Val] = training.Val
    path_options: type[training.Path] = training.Path

    @classmethod
    def check_options(cls, opt: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check the top level of the options and the blocks `network_g`, `path`, `train`, `logger` and `val`.

        Returns:
            The blocks `train` (empty when testing) and `val`, including the defaults of omitted options.
        """
        check_top_level(opt)
        checks.check_network_block(opt.get("network_g"))
        checks.check_channels(opt)
        validate(cls.path_options, opt["path"], "path")
        val.check_labels(opt.get("datasets") or {}, opt.get("scale"))
        train: dict[str, Any] = {}
        if opt["is_train"]:
            train = with_defaults(cls.train_options, opt["train"], "train")
            if train["teacher"] is not None:
                train["teacher"] = with_defaults(training.Teacher, train["teacher"], "train: teacher")
                check_coordinates("train: teacher:", opt)
            checks.check_logger(opt)
            check_losses(opt)
        # BasicSR validates during training only if there is a `val` block.
        block = opt.get("val") or ({"save_img": False} if opt["is_train"] else {})
        validation = with_defaults(cls.val_options, block, "val")
        if opt["is_train"] and opt.get("val") and validation["val_freq"] is None:
            raise LIIFError("val: option 'val_freq' is missing; set it, or remove the block to train without "
                            "validation")  # fmt: skip
        if validation["metrics"]:
            channels = opt["network_g"].get("num_out_ch", 3)
            checks.check_metrics(validation["metrics"], opt["is_train"], channels)
            # BasicSR also reads the metrics, from `opt`.
            opt["val"]["metrics"] = validation["metrics"] = val.per_band(validation["metrics"], channels)
        return train, validation

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_opt, self.val_opt = self.check_options(opt)
        self.results: OrderedDict[str, dict[str, float]] = OrderedDict()  # of the last validation, by set and scale
        self.iteration = self.skipped_steps = 0
        self.last_saved = (0, 0)  # epoch and iteration of the last training state
        self.last_check: StepCheck | None = None
        self.windows = samples_windows(opt)
        self.teacher: nn.Module | None = None
        if opt["is_train"]:
            self.best_metric_results: dict[str, dict[str, dict[str, Any]]] = {}
            checks.check_iterations()
        with errors_in("network_g"):  # errors in other blocks already name theirs
            super().__init__(opt)
        if not hasattr(self.get_bare_model(self.net_g), "render"):
            kind = opt["network_g"]["type"]
            raise LIIFError(
                f"network_g: LIIFModel needs a network that can be queried at coordinates, but {kind} cannot; use a "
                "network of this plugin, or model_type: SRModel"
            )
        if not self.is_train and not opt["path"].get("pretrain_network_g") and [*self.net_g.parameters()]:
            get_root_logger().warning("path: pretrain_network_g: not set; the network is tested with random weights.")
        self.precision = checks.precision_of(self.train_opt.get("amp"), self.device, "train: amp")
        self.val_precision = checks.precision_of(self.val_opt["amp"], self.device, "val: amp")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move a network to the device. In distributed training, wrap it for DDP, also without a GPU.

        Modules in `train: freeze` are frozen first, because DDP registers the parameters that are trained.
        """
        if net is self.net_g:
            freeze(net, self.train_opt.get("freeze", []))
        if self.opt["dist"] and self.device.type == "cpu":
            return DistributedDataParallel(net)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        """Set up the moving average, losses, optimizers and schedulers."""
        self.net_g.train()
        self.forward_g: Callable[..., Tensor] = self.net_g
        self.ema_decay = self.train_opt["ema_decay"]
        if self.ema_decay > 0:
            self._init_ema()
        names = [*loss_options(self.opt["train"]), "teacher"]
        blocks = {key: self.train_opt[key] for key in self.opt["train"] if key in names}
        self.losses = build_losses(blocks, self.opt, self.device)
        if block := self.train_opt["teacher"]:
            with errors_about("train: teacher: path"):
                self.teacher = checkpoint.load(block["path"]).to(self.device).requires_grad_(False)
                own = getattr(self.get_bare_model(self.net_g), "num_in_ch", self.teacher.num_in_ch)
                if self.teacher.num_in_ch != own:
                    raise LIIFError(f"the teacher takes {self.teacher.num_in_ch} channels, but network_g takes {own}; "
                                    "use another teacher")  # fmt: skip
                if block["self_ensemble"] > 1:
                    self.teacher = SelfEnsemble(self.teacher, block["self_ensemble"])
        if self.train_opt["compile"]:
            self.compile_networks()
        self.setup_optimizers()
        self.setup_schedulers()

    def compile_networks(self) -> None:
        """Compile the networks and losses of a step (`train: compile`)."""
        # Hide torch's advice to enable TF32; the option `amp: tf32` enables it.
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)
        self.forward_g = torch.compile(self.net_g)
        self.losses = [loss._replace(module=torch.compile(loss.module)) for loss in self.losses]
        if self.teacher is not None:
            self.teacher = torch.compile(self.teacher)

    def _init_ema(self) -> None:
        """Build the network whose parameters are the moving average of the trained ones."""
        self.net_g_ema = build_network(self.opt["network_g"]).to(self.device).eval()
        path = self.opt["path"]
        if path.get("pretrain_network_g"):
            strict = path.get("strict_load_g", True)
            self.load_network(self.net_g_ema, path["pretrain_network_g"], strict, "params_ema")
        else:
            self.model_ema(0)

    def setup_optimizers(self) -> None:
        """Set up the optimizer. `encoder_lr_mul` in `optim_g` sets the encoder's learning rate relative to `lr`."""
        factor = self.opt["train"]["optim_g"].pop("encoder_lr_mul", 1)
        set_fused(self.opt["train"]["optim_g"], self.device)
        with errors_in("train: optim_g"):
            super().setup_optimizers()
            if factor != 1:
                split_encoder(self.optimizer_g, self.get_bare_model(self.net_g), factor)

    def setup_schedulers(self) -> None:
        """Set up the schedulers. Error messages start with `train: scheduler`."""
        with errors_in("train: scheduler"):
            super().setup_schedulers()

    # Training ------------------------------------------------------------------------------------------------

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Set the learning rate of an iteration."""
        super().update_learning_rate(current_iter, warmup_iter)
        if current_iter == warmup_iter:  # BasicSR's MultiStepLR would continue from the rate of the last iteration
            self._set_lr([learning_rates(scheduler) for scheduler in self.schedulers])

    def feed_data(self, data: dict[str, Any]) -> None:
        """Copy a batch to the device.

        Args:
            data: `lq`, `coord`, `cell` and `gt` (B, Q, D) in training, `lq` and `gt` (1, D, H, W) in validation.
        """
        # Copies from pinned memory (the option `pin_memory`) do not block.
        self.batch = {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in data.items()}
        self.lq = self.batch["lq"]
        if "gt" in self.batch:
            self.gt = self.batch["gt"]

    def optimize_parameters(self, current_iter: int) -> None:
        """Train on the current batch. Random numbers depend on `manual_seed`, the iteration and the rank.

        Raises:
            LIIFError: the step does not fit into the GPU's memory, or a loss or gradient is not finite.
        """
        self.iteration = current_iter
        key = self.opt["manual_seed"], current_iter, self.opt["rank"]
        set_random_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        remedy = "lower datasets: train: batch_size_per_gpu or sample_q, or set train: amp: bfloat16"
        with gpu_memory_errors(f"iteration {current_iter}", remedy), compiler_errors("train: compile"):
            with tf32(self.device, self.precision == "tf32"):
                self.train_step(current_iter)

    def train_step(self, current_iter: int) -> None:
        """Train on the current batch; `optimize_parameters` calls this and converts errors to LIIFError."""
        self.optimizer_g.zero_grad()
        losses = self.compute_losses()
        self.scaler.scale(sum(losses.values())).backward()
        self.finish_step(current_iter, losses, [self.optimizer_g])

    def compute_losses(self) -> OrderedDict[str, Tensor]:
        """Run the network and the teacher on the batch, and compute all losses in float32."""
        query = [self.batch[key] for key in ("lq", "coord", "cell") if key in self.batch]
        needs_gradient = any("gradient" in loss.inputs for loss in self.losses)
        with autocast(self.device, self.precision):
            if needs_gradient:
                output, gradient = self.forward_g(*query, gradient=True)
                self.batch["gradient"] = gradient.float()
            else:
                output = self.forward_g(*query)
            self.output = output.float()
            colors = {"output": self.output, "gt": self.gt}
            if self.teacher is not None:
                with torch.no_grad():
                    colors["teacher"] = self.teacher(*query).float()
        if self.windows:
            colors = {name: as_images(value) for name, value in colors.items()}
        self.compared = {**self.batch, **colors}
        losses: OrderedDict[str, Tensor] = OrderedDict()
        for names, module, inputs in self.losses:
            values = module(*(self.compared[name] for name in inputs))
            pairs = zip(names, values if isinstance(values, tuple) else (values,), strict=True)
            losses.update((name, value) for name, value in pairs if value is not None)
        return losses

    def finish_step(self, current_iter: int, losses: dict[str, Tensor], optimizers: list[Optimizer]) -> None:
        """Step the optimizers, unless a loss or a gradient is not finite.

        On a GPU, the kernels of fused optimizers read the result of this check and skip the step themselves. A skipped
        step is then reported one step later, so that training does not wait for the device.
        """
        self.step_losses = {name: loss.detach() for name, loss in losses.items()}
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        gradients = [param.grad for group in groups for param in group["params"] if param.grad is not None]
        # The gradient scaler of float16 checks the gradients itself, and lowers its scale if they are not finite. At a
        # scale of 1 or less, lowering it would not help, so StepCheck checks them.
        scales = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        check = StepCheck(current_iter, self.step_losses, [] if scales else gradients, self.batch.get("gt_path", ()))
        late = not self.scaler.is_enabled() and skip_themselves(optimizers)
        if late:
            for optimizer in optimizers:
                optimizer.found_inf = check.found  # read by the fused kernels
                optimizer.step()
            self.report_last_step()
            self.last_check = check
        else:
            self.last_check = check
            if self.report_last_step():
                return
            for optimizer in optimizers:
                self.scaler.step(optimizer)
            self.scaler.update()
        if self.ema_decay > 0:
            self.model_ema(self.ema_decay, check.found if late else None)

    def report_last_step(self) -> bool:
        """Return whether the last step was skipped. If so, log and count it; later calls return False.

        Raises:
            LIIFError: the limit `train: skip_nonfinite` had already been reached.
        """
        check, self.last_check = self.last_check, None
        if check is None or not (reports := check.reports()):
            return False
        problem, limit = f"iteration {check.iteration}: {'; '.join(reports)}", self.train_opt["skip_nonfinite"]
        if self.skipped_steps >= limit:  # greater if a resumed training has a lower limit
            raise LIIFError(
                f"{problem}; the limit of {limit} skipped steps (train: skip_nonfinite) is reached; the last good "
                f"checkpoint: {self.newest_checkpoint() or 'none yet'}; try a lower learning rate, or train: amp: ~"
            )
        self.skipped_steps += 1
        get_root_logger().warning(f"{problem}; step skipped ({self.skipped_steps} of at most {limit})")
        return True

    def model_ema(self, decay: float = 0.999, skipped: Tensor | None = None) -> None:
        """Update the moving average of the parameters, all of them in a few kernel launches.

        Args:
            decay: weight of the old average.
            skipped: scalar tensor on the device: 1 if the step was skipped, which leaves the average unchanged, else 0.
        """
        own = dict(self.get_bare_model(self.net_g).named_parameters())
        average = dict(self.net_g_ema.named_parameters())
        values, means = [own[key].detach() for key in average], [value.detach() for value in average.values()]
        if skipped is None:
            torch._foreach_mul_(means, decay)
            torch._foreach_add_(means, values, alpha=1 - decay)
            return
        steps = torch._foreach_sub(values, means)
        torch._foreach_mul_(steps, (1 - skipped) * (1 - decay))
        torch._foreach_add_(means, steps)

    def get_current_log(self) -> OrderedDict[str, float]:
        """Return the losses of the last step, averaged over the ranks. Only this method reads them from the device."""
        self.report_last_step()
        self.log_dict = self.reduce_loss_dict(self.step_losses)
        if self.skipped_steps:
            self.log_dict["skipped"] = self.skipped_steps
        return self.log_dict

    # Validation ----------------------------------------------------------------------------------------------

    def test(self, size: tuple[int, int] | None = None) -> None:
        """Render the current image, with the moving average of the network if there is one.

        Args:
            size: (H, W) of the output; by default, the input's size times the network's `scale`.
        """
        net = getattr(self, "net_g_ema", None) or self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        if size is None:
            size = tuple(round(n * net.scale) for n in self.lq.shape[-2:])
        with torch.no_grad(), autocast(self.device, self.val_precision):
            self.output = net.render(self.lq, size)
        net.train(training)
        if not torch.isfinite(self.output).all():
            images = list(self.batch.get("lq_path", ()))
            raise LIIFError(f"val: the network's output is not finite in {self.val_precision} on {images}; "
                            "set val: amp to another precision, or load another checkpoint if the weights are "
                            "damaged")  # fmt: skip

    def validation(self, dataloader: DataLoader, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        """Validate one set. If this fails in training, save a checkpoint before the error ends the run."""
        self.report_last_step()
        try:
            super().validation(dataloader, current_iter, tb_logger, save_img)
        except Exception:
            epoch = checks.train_pipeline_variables().get("epoch")
            if epoch is not None and self.last_saved[1] != self.iteration:
                get_root_logger().info(f"The validation failed. Saving iteration {self.iteration}.")
                self.save(epoch, self.iteration)
            raise

    def dist_validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Validate a share of the images on each rank. The results are the same as in one process."""
        self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    def nondist_validation(self, dataloader: DataLoader, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """Validate one set at each of its scales."""
        if self.is_train:  # at the end, BasicSR's count is one iteration too high
            current_iter = min(current_iter, self.opt["train"]["total_iter"])
        dataset = dataloader.dataset
        scales = getattr(dataset, "scales", [None])
        per_scale = len(dataset) // len(scales)
        indices = range(self.opt["rank"], len(dataset), self.opt["world_size"])
        metrics = self.val_opt["metrics"] or {}
        values = torch.zeros(len(dataset), len(metrics), dtype=torch.float64, device=self.device)
        names = _image_names(dataset, len(scales)) if save_img else []
        silent = self.opt["rank"] != 0 or not self.val_opt["pbar"]
        for index in tqdm(indices, desc=dataset.opt["name"], unit="image", disable=silent):
            # A DataLoader would advance torch's random generator, and so change the training samples.
            data = default_collate([dataset[index]])
            k, number = divmod(index, per_scale)
            dtype = dataset.dtype(k, number) if hasattr(dataset, "dtype") else np.dtype(np.uint8)
            measured = self._validate_one(dataset, scales[k], data, dtype)
            values[index] = torch.tensor(measured, dtype=torch.float64)
            if save_img:
                name = names[k][number] if names else osp.splitext(osp.basename(data["lq_path"][0]))[0]
                label = val.set_label(dataset.opt["name"], scales[k])
                self._save_image(label, name, current_iter, dtype, dataset.opt.get("value_range"))
        if torch.distributed.is_initialized():  # the sum is exact, because only one rank has an image's values
            torch.distributed.all_reduce(values)
        if metrics:
            labels = [val.set_label(dataset.opt["name"], scale) for scale in scales]
            means = values.view(len(scales), per_scale, -1).mean(1).tolist()
            results = {label: dict(zip(metrics, mean, strict=True)) for label, mean in zip(labels, means, strict=True)}
            self._report(results, current_iter, tb_logger)

    def _validate_one(
        self, dataset: Any, scale: tuple[float, float] | None, data: dict[str, Any], dtype: np.dtype
    ) -> list[float]:
        """Render one image and return its metrics; `dtype` is the pixel type of the ground truth's file."""
        self.feed_data(data)
        gt, metrics = data.get("gt"), self.val_opt["metrics"]
        self.test(tuple(gt.shape[-2:]) if gt is not None else None)
        if not metrics:
            return []
        if gt is None:
            raise LIIFError(f"val: metrics: set {dataset.opt['name']} has no ground truth to compare with; remove the "
                            "metrics or the set")  # fmt: skip
        ratio = scale or (gt.shape[-2] / self.lq.shape[-2], gt.shape[-1] / self.lq.shape[-1])
        protocol = val.protocol_options(getattr(dataset, "protocol", None), ratio)
        value_range = dataset.opt.get("value_range") or RANGES.get(dtype, (0, 1))
        return val.measure(self.output, self.gt, metrics, protocol, dtype == np.uint8, value_range)

    @master_only
    def _report(self, results: dict[str, dict[str, float]], current_iter: int | str, tb_logger: Any) -> None:
        """Log a set's results, one line per scale. In training, update the best values; in testing, write the table."""
        if self.is_train:
            for label, result in results.items():
                self._initialize_best_metric_results(label)
                for metric, value in result.items():
                    self._update_best_metric_result(label, metric, value, current_iter)
            if self.last_saved[1] == current_iter:  # BasicSR saves before it validates
                self.save_training_state(*self.last_saved)
        for label, self.metric_results in results.items():
            self._log_validation_metric_values(current_iter, label, tb_logger)
        self.results.update(results)
        if not self.is_train:
            val.write_table(self.opt["path"]["results_root"], self.results)

    def _initialize_best_metric_results(self, label: str) -> None:
        """Add the metrics that the training state lacks."""
        known = self.best_metric_results.pop(label, {})
        super()._initialize_best_metric_results(label)
        self.best_metric_results[label].update(known)

    def _save_image(
        self, label: str, name: str, current_iter: int | str, dtype: np.dtype, value_range: Any
    ) -> None:
        """Save the output with the data's pixel type and value range: as PNG, or as TIFF if PNG does not support it."""
        suffix = current_iter if self.is_train else self.val_opt["suffix"] or self.opt["name"]
        path = Path(self.opt["path"]["visualization"], label, f"{name}_{suffix}")
        image = from_unit(self.output[0].float().cpu().permute(1, 2, 0).numpy(), dtype, value_range)
        path.parent.mkdir(parents=True, exist_ok=True)
        if fits_png(image):
            write(path.with_name(f"{path.name}.png"), encode_png(image, 1))
        else:
            write(path.with_name(f"{path.name}.tif"), encode_tiff(image))

    # Checkpoints ---------------------------------------------------------------------------------------------

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = "params") -> None:
        """Load a checkpoint (ours, BasicSR's or an official one) or a model by name. Code in the file is never run."""
        block = "network_d" if net is getattr(self, "net_d", None) else "network_g"
        with errors_about(f"path: pretrain_{block}"):
            data = checkpoint.read(find(load_path))
        checkpoints.check_block(data.get(block), self.opt[block], block, load_path, strict)
        checks.check_value_range(data.get("value_range"), self.opt, load_path)
        bare, logger = self.get_bare_model(net), get_root_logger()
        with errors_about(load_path):
            used, left_out = checkpoint.load_params(bare, data, param_key, strict)
        if used != param_key:
            logger.warning(f"{load_path} has no {param_key}; {used} is used instead.")
        if left_out:
            total, names = len(bare.state_dict()), ", ".join(left_out[:5]) + ", ..." * (len(left_out) > 5)
            logger.warning(
                f"{load_path}: {len(left_out)} parameters do not match the network's in name or shape and were left "
                f"out (strict_load_{block[-1]}: false; the network has {total}): {names}."
            )
        logger.info(f"Loaded {type(bare).__name__} from {load_path}, with param key: [{used}].")

    def save(self, epoch: int, current_iter: int) -> None:
        """Save networks and training state. At the end of a run, BasicSR calls this with -1, -1.

        Raises:
            LIIFError: a file cannot be written, a parameter is not finite, or the run ended before `total_iter`.
        """
        ended, total = epoch == -1 and current_iter == -1, self.opt["train"]["total_iter"]
        early = f"training ended after {self.iteration} of {total} iterations (train: total_iter)"
        if ended and not self.iteration:
            raise LIIFError(f"{early}; lower batch_size_per_gpu if it exceeds the number of images")
        self.report_last_step()
        self.save_networks(current_iter)
        self.save_training_state(epoch, current_iter)
        if ended and self.iteration < total:
            raise LIIFError(f"{early}; resume with `python -m liif_basicsr.train`, which fills each epoch's last batch")

    def save_networks(self, current_iter: int) -> None:
        """Save the network and its moving average."""
        if hasattr(self, "net_g_ema"):
            self.save_network([self.net_g, self.net_g_ema], "net_g", current_iter, ["params", "params_ema"])
        else:
            self.save_network(self.net_g, "net_g", current_iter)

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = "params"
    ) -> None:
        """Write `<label>_<iter>.pth` atomically, with the parameters and the options of the network.

        Raises:
            LIIFError: the file cannot be written, or a parameter is not finite. Earlier files are kept.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        block = net_label.replace("net", "network", 1)
        data: dict[str, Any] = {block: checkpoint.plain(self.opt[block])}
        value_range = self.opt["datasets"]["train"].get("value_range")
        if value_range is not None and block == "network_g":
            data["value_range"] = checkpoint.plain(value_range)
        for key, one in zip(keys, nets, strict=True):
            data[key] = {k: v.detach().cpu().contiguous() for k, v in self.get_bare_model(one).state_dict().items()}
            broken = next((name for name, value in data[key].items() if not torch.isfinite(value).all()), None)
            if broken:
                last = self.newest_checkpoint() or "none yet"
                raise LIIFError(f"the network was not saved: {broken} is not finite; the last good checkpoint: {last}")
        name = "latest" if current_iter == -1 else current_iter
        checkpoint.save(osp.join(self.opt["path"]["models"], f"{net_label}_{name}.pth"), data)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `<iter>.state` atomically, then remove old checkpoints if `logger: keep_checkpoints` is set."""
        if current_iter == -1:
            return
        state = {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.scaler.state_dict(),
            "best_metric_results": self.best_metric_results,
            "skipped_steps": self.skipped_steps,
        }
        checkpoint.save(osp.join(self.opt["path"]["training_states"], f"{current_iter}.state"), checkpoint.plain(state))
        self.last_saved = epoch, current_iter
        keep = self.opt["logger"].get("keep_checkpoints")
        if keep:
            checkpoints.prune(*self._folders(), current_iter, keep, self._is_milestone)

    def _folders(self) -> tuple[Path, Path]:
        return Path(self.opt["path"]["models"]), Path(self.opt["path"]["training_states"])

    def _is_milestone(self, iteration: int) -> bool:
        freq = self.opt["logger"].get("keep_checkpoint_freq")
        best = [value["iter"] for metrics in self.best_metric_results.values() for value in metrics.values()]
        return iteration in best or bool(freq) and iteration % freq == 0

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Continue from a training state of this class or a BasicSR model. Hyperparameters come from the options."""
        with errors_in(f"{self.opt['path']['resume_state']}: does not fit this network and its train options"):
            total = self.opt["train"]["total_iter"]
            if resume_state["iter"] > total:
                raise ValueError(f"its iteration is {resume_state['iter']}, but total_iter is {total}; raise it")
            checkpoints.check_state(resume_state, self.optimizers, self.schedulers)
            states = zip(resume_state["optimizers"], resume_state["schedulers"], strict=True)
            for optimizer, scheduler, both in zip(self.optimizers, self.schedulers, states, strict=True):
                for change in load_optimizer(optimizer, scheduler, *both):
                    get_root_logger().info(f"Resuming with {change}, the value in the training state.")
            if resume_state.get("scaler") and self.scaler.is_enabled():
                self.scaler.load_state_dict(resume_state["scaler"])
        if self.opt["rank"] == 0:
            for folder in self._folders():
                checkpoints.remove_partial(folder)
        self.iteration = resume_state["iter"]
        self.skipped_steps = resume_state.get("skipped_steps", 0)
        better = {name: block.get("better", "higher") for name, block in (self.val_opt["metrics"] or {}).items()}
        self.best_metric_results = resume_state.get("best_metric_results", {})
        for label, values in self.best_metric_results.items():
            for name in [key for key, value in values.items() if better.get(key, value["better"]) != value["better"]]:
                get_root_logger().warning(f"val: metrics: {name}: better has changed; its best value for {label}, of "
                                          f"iteration {values.pop(name)['iter']}, is discarded.")  # fmt: skip

    def newest_checkpoint(self) -> Path | None:
        """Return the file `net_g_<iter>.pth` of the highest iteration, or None if there is no such file."""
        stems = (file.stem.removeprefix("net_g_") for file in self._folders()[0].glob("net_g_*.pth"))
        newest = max((int(stem) for stem in stems if stem.isdecimal()), default=None)
        return None if newest is None else self._folders()[0] / f"net_g_{newest}.pth"


def _image_names(dataset: Any, scales: int) -> list[list[str]]:
    """Return names for a set's output images, one list per scale, or [] if the dataset does not list its images.

    A name is the input's file name without suffix. If two names would be equal, both keep the suffix; if they are still
    equal, both are prefixed with their folders.
    """
    if not isinstance(dataset, ArbitraryScaleDataset):
        return []
    return [_unique_names([dataset.lq[k].path(i) for i in range(dataset.num_images)]) for k in range(scales)]


def _unique_names(paths: list[str]) -> list[str]:
    names = [osp.splitext(osp.basename(path))[0] for path in paths]
    root = osp.commonpath([osp.dirname(path) for path in paths])
    for longer in (osp.basename, lambda path: osp.relpath(path, root).replace(osp.sep, "_")):
        counts = Counter(names)
        names = [longer(path) if counts[name] > 1 else name for path, name in zip(paths, names, strict=True)]
    return names
