"""Models of the blocks `train`, `val`, `path` and `logger` of LIIFModel and LIIFGANModel."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from liif_basicsr.config.base import (
    Block,
    Iterations,
    Milestone,
    NonNegativeFloat,
    NonNegativeInt,
    OpenBlock,
    PartialBlock,
    PositiveFloat,
    PositiveInt,
    Probability,
    Text,
)
from liif_basicsr.errors import suggest

ParamKey = Annotated[
    Literal["params", "params_ema"] | None, Field(description="which parameters to load: `params` or `params_ema`")
]
Precision = Literal["auto", "tf32", "bfloat16", "float16"]
# Losses of SRGANModel and other models, which LIIFModel cannot use.
LOSSES_OF_OTHER_MODELS = ("gan_opt", "ldl_opt")


# --- path


class Path(Block):
    """Checkpoints to load. Unknown options are errors, because BasicSR would create a folder for each of them."""

    pretrain_network_g: Text | None = Field(
        None, description="a checkpoint of the plugin or the official code, or the name of a model, such as `liif-fast`"
    )
    param_key_g: ParamKey = "params"
    strict_load_g: bool = Field(True, description="fail unless checkpoint and network have the same parameters")
    resume_state: Text | None = Field(
        None, description="training state to continue from; `--auto_resume` finds the newest one"
    )
    ignore_resume_networks: list[Text] | Text | None = Field(
        None, description="networks whose checkpoint is not loaded when training resumes"
    )
    experiments_root: Text | None = Field(None, description="set by BasicSR")
    results_root: Text | None = Field(None, description="set by BasicSR")
    models: Text | None = Field(None, description="set by BasicSR")
    training_states: Text | None = Field(None, description="set by BasicSR")
    log: Text | None = Field(None, description="set by BasicSR")
    visualization: Text | None = Field(None, description="set by BasicSR")


class GANPath(Path):
    """Checkpoints of LIIFGANModel."""

    pretrain_network_d: Text | None = Field(None, description="a checkpoint of the discriminator")
    param_key_d: ParamKey = "params"
    strict_load_d: bool = Field(True, description="fail unless checkpoint and discriminator have the same parameters")


# --- train


class Optimizer(OpenBlock):
    """A torch optimizer that BasicSR supports, with its arguments."""

    type: Text = Field(description="an optimizer that BasicSR supports, such as `Adam`")
    lr: Annotated[float, Field(gt=0)] = Field(description="learning rate")
    weight_decay: NonNegativeFloat = Field(0, description="weight decay")
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)] = Field(
        [0.9, 0.999], description="decay rates of the running means of the gradients and of their squares"
    )
    eps: NonNegativeFloat = Field(1e-8, description="number added to the denominator for stability")


class GeneratorOptimizer(Optimizer):
    """The optimizer of `network_g`."""

    encoder_lr_mul: NonNegativeFloat = Field(1, description="factor applied to the encoder's learning rate")


class MultiStepLR(Block):
    """Multiplies the learning rate by `gamma` at each milestone."""

    type: Literal["MultiStepLR", "MultiStepRestartLR"] = Field(
        description="name of the scheduler; both names select the same scheduler"
    )
    milestones: list[Milestone] = Field(description="iterations at which the learning rate changes")
    gamma: NonNegativeFloat = Field(
        0.1, description="factor applied to the learning rate at each milestone"
    )
    restarts: list[Milestone] = Field(
        [0], description="iterations at which the learning rate restarts from the initial one"
    )
    restart_weights: list[NonNegativeFloat] = Field(
        [1], description="factors applied to the initial learning rate, one for each restart"
    )

    @model_validator(mode="after")
    def _check_lengths(self) -> MultiStepLR:
        restarts, weights = len(self.restarts), len(self.restart_weights)
        if restarts != weights:
            raise ValueError(f"restart_weights: expected one number for each of the {restarts} restarts, got {weights}")
        return self


class CosineAnnealingRestartLR(Block):
    """Lowers the learning rate along one or more cosine curves."""

    type: Literal["CosineAnnealingRestartLR"] = Field(description="name of the scheduler")
    periods: list[Iterations] = Field(min_length=1, description="length of each cosine curve in iterations")
    restart_weights: list[NonNegativeFloat] = Field(
        [1], description="factors applied to the initial learning rate, one for each curve"
    )
    eta_min: NonNegativeFloat = Field(0, description="lowest learning rate")

    @model_validator(mode="after")
    def _check_lengths(self) -> CosineAnnealingRestartLR:
        periods, weights = len(self.periods), len(self.restart_weights)
        if periods != weights:
            raise ValueError(f"restart_weights: expected one number for each of the {periods} periods, got {weights}")
        return self


class Loss(OpenBlock):
    """A loss in BasicSR's registry, with its arguments."""

    type: Text = Field(description="name of the loss, such as `L1Loss`")
    loss_weight: NonNegativeFloat = Field(1, description="weight of the loss")
    reduction: Literal["mean", "sum"] = Field("mean", description="`mean` or `sum` over pixels and channels")


class PerceptualLoss(OpenBlock):
    """BasicSR's PerceptualLoss, or another loss that compares images instead of single pixels."""

    type: Text = Field(description="name of the loss, such as `PerceptualLoss`")
    layer_weights: dict[str, NonNegativeFloat] = Field({}, description="weight of each VGG layer")
    perceptual_weight: NonNegativeFloat = Field(1, description="weight of the loss on features")
    style_weight: NonNegativeFloat = Field(0, description="weight of the loss on the features' Gram matrices")


class GANLoss(OpenBlock):
    """A GAN loss of BasicSR."""

    type: Text = Field(description="name of the loss, such as `GANLoss`")
    gan_type: Text | None = Field(None, description="type of the GAN loss, such as `vanilla`, `lsgan` or `hinge`")
    loss_weight: NonNegativeFloat = Field(1, description="weight of the generator's loss")
    real_label_val: float = Field(1, description="target value of the discriminator for real images")
    fake_label_val: float = Field(0, description="target value of the discriminator for generated images")


class Teacher(Block):
    """Adds an L1 loss between the outputs of the network and of a teacher at the same coordinates.

    `pixel_opt` may then be `~`.
    """

    path: Text = Field(description="a checkpoint, or the name of a model")
    weight: NonNegativeFloat = Field(1.0, description="weight of the loss")
    self_ensemble: Annotated[int, Field(ge=1, le=8)] = Field(
        1,
        description="number of orientations (flips and transpositions) of the input over which the teacher's output is "
        "averaged; they are drawn at random for each batch",
    )


class PipelineTrain(PartialBlock):
    """Options that BasicSR's training pipeline reads for any model."""

    total_iter: Iterations
    scheduler: dict[str, Any]
    optim_g: dict[str, Any]


class Train(OpenBlock):
    """Losses, optimizer and schedule.

    Any further option whose name ends in `_opt` is a loss, too, such as `texture_opt: {type: TextureLoss}`.
    """

    __pydantic_extra__: dict[str, Loss | None]

    optim_g: GeneratorOptimizer = Field(
        description="`type` and arguments of an optimizer, as in BasicSR; `encoder_lr_mul` multiplies the encoder's "
        "learning rate"
    )
    scheduler: Annotated[MultiStepLR | CosineAnnealingRestartLR, Field(discriminator="type")] = Field(
        description="`type` and arguments of one of BasicSR's schedulers"
    )
    total_iter: PositiveInt = Field(description="number of training iterations")
    warmup_iter: int = Field(
        -1, ge=-1, description="iterations over which the learning rate rises; -1 disables the warm-up"
    )
    pixel_opt: Loss | None = Field(None, description="loss on the sampled pixels, such as `L1Loss`")
    perceptual_opt: PerceptualLoss | None = Field(None, description="BasicSR's perceptual loss; needs `sample: patch`")
    teacher: Teacher | None = Field(None, description="a teacher network to imitate, see [teacher](#teacher)")
    freeze: list[Text] = Field([], description="parts of the network that are not trained, such as `[encoder]`")
    ema_decay: float = Field(
        0, ge=0, lt=1, description="decay of the parameters' moving average; 0 disables the average"
    )
    amp: Precision | None = Field(
        None,
        description="precision: `bfloat16` or `float16` autocast; `auto` uses bfloat16 if the processor has "
        "instructions for it; `tf32` is float32 with faster, less exact matrix products on GPUs; `~` uses float32",
    )
    compile: bool = Field(
        False,
        description="compile network and losses with torch.compile; this merges small GPU kernels, and takes a minute "
        "at the start",
    )
    skip_nonfinite: NonNegativeInt = Field(
        0,
        description="number of steps that may be skipped because a loss or gradient is not finite; one more such step "
        "ends the run",
    )

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, block: Any) -> Any:
        for key in block if isinstance(block, Mapping) else ():
            is_loss = str(key).endswith("_opt") and key not in LOSSES_OF_OTHER_MODELS
            if key not in cls.model_fields and not is_loss:
                raise ValueError(f"unknown option {key!r}{suggest(key, cls.model_fields)}")
        return block

    @model_validator(mode="after")
    def _check_weights(self) -> Train:
        blocks = [block for key, block in self if key.endswith("_opt") and block is not None]
        weights = [getattr(block, "loss_weight", 0) for block in blocks if not isinstance(block, PerceptualLoss)]
        if self.perceptual_opt is not None:
            weights += [self.perceptual_opt.perceptual_weight, self.perceptual_opt.style_weight]
        if self.teacher is not None:
            weights.append(self.teacher.weight)
        if weights and not any(weights):
            raise ValueError("every loss has weight 0, so nothing would be trained; raise the weight of one")
        return self

    @model_validator(mode="after")
    def _check_schedule(self) -> Train:
        periods = getattr(self.scheduler, "periods", None)
        if periods is not None and sum(periods) < self.total_iter - 1:
            end = f"their sum is {sum(periods):g} iterations, but total_iter is {self.total_iter}"
            raise ValueError(f"scheduler: periods: {end}; extend the periods")
        return self


class GANTrain(Train):
    """Options of LIIFGANModel, which needs datasets with `sample: patch`."""

    gan_opt: GANLoss = Field(description="a GAN loss of BasicSR")
    optim_d: Optimizer = Field(description="the discriminator's optimizer")
    net_d_iters: PositiveInt = Field(1, description="number of iterations per step of the generator")
    net_d_init_iters: NonNegativeInt = Field(
        0, description="number of iterations at the start that train only the discriminator"
    )

    @model_validator(mode="after")
    def _check_iterations(self) -> GANTrain:
        first = (self.net_d_init_iters // self.net_d_iters + 1) * self.net_d_iters
        if first > self.total_iter:
            name = "net_d_init_iters" if self.net_d_init_iters else "net_d_iters"
            step = f"the generator's first step would be iteration {first}"
            raise ValueError(f"{name}: {step}, after total_iter {self.total_iter}; lower {name}")
        return self


# --- val


class Metric(OpenBlock):
    """A metric in BasicSR's registry, with its arguments."""

    type: Text = Field(description="name of the metric, such as `calculate_psnr_liif`")
    better: Literal["higher", "lower"] = Field("higher", description="whether `higher` or `lower` values are better")
    crop_border: NonNegativeInt | None = Field(None, description="width of the border to leave out, in pixels")
    test_y_channel: bool | None = Field(None, description="compare luma only")
    data_range: PositiveFloat | None = Field(
        None,
        description="for `calculate_psnr_liif`: peak value in the unit of the data; `~` derives it from `value_range`",
    )
    band: PositiveInt | Literal["mean"] | None = Field(
        None,
        description="for `calculate_psnr_liif`: compare only this band (counted from 1), or average the PSNR of all "
        "bands (`mean`)",
    )
    per_band: bool = Field(
        False, description="for `calculate_psnr_liif`: also report `<name>_band1`, ... and their mean, `<name>_mean`"
    )


class PipelineTestVal(PartialBlock):
    """Options that BasicSR's test pipeline reads for any model."""

    save_img: bool


class PipelineTrainVal(PipelineTestVal):
    """Options that BasicSR's training pipeline reads for any model."""

    val_freq: Iterations


class Val(Block):
    """Validation and testing."""

    val_freq: Iterations | None = Field(None, description="iterations from one validation to the next")
    save_img: bool = Field(description="whether to save the images")
    pbar: bool = Field(False, description="show a progress bar")
    suffix: Text | None = Field(None, description="suffix of the names of saved images; `~` uses the run's `name`")
    metrics: dict[str, Metric] | None = Field(
        None, description="metrics by name; the `type` of each is `calculate_psnr_liif` or a metric of BasicSR"
    )
    amp: Precision | None = Field(None, description="precision; takes the same values as `amp` in `train`")


class TrainVal(Val):
    """Validation during training."""

    val_freq: Iterations = Field(description="iterations from one validation to the next")


# --- logger


class WandB(OpenBlock):
    """Options of Weights & Biases."""

    project: Text | None = None
    resume_id: Text | None = None


class PipelineLogger(PartialBlock):
    """Options that BasicSR's training pipeline reads for any model."""

    print_freq: PositiveInt = Field(description="iterations from one line of the log to the next")
    save_checkpoint_freq: Iterations = Field(description="iterations from one checkpoint to the next")
    use_tb_logger: bool = Field(description="log to TensorBoard")
    wandb: WandB | None = Field(None, description="BasicSR's logging to Weights & Biases; needs TensorBoard")


class Logger(PipelineLogger):
    """Logging and checkpoints."""

    model_config = ConfigDict(extra="forbid")

    keep_checkpoints: PositiveInt | None = Field(
        None, description="number of newest checkpoints to keep; `~` keeps all"
    )
    keep_checkpoint_freq: Iterations | None = Field(
        None, description="also keep each checkpoint whose iteration is a multiple of this number"
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> Logger:
        if self.keep_checkpoint_freq and not self.keep_checkpoints:
            raise ValueError("keep_checkpoint_freq: needs keep_checkpoints; set both")
        return self
