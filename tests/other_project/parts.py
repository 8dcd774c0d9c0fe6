"""A project's own architecture, dataset and model in BasicSR's registries."""
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
from torch import nn
from torch.utils import data


@ARCH_REGISTRY.register()
class TheirArch(nn.Module):
    """Upscales by 2."""

    def __init__(self, num_feat=6):
        super().__init__()
        self.body = nn.Conv2d(3, num_feat, 3, 1, 1)
        self.upsample = nn.Sequential(nn.Conv2d(num_feat, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x):
        return self.upsample(self.body(x))


@DATASET_REGISTRY.register()
class TheirDataset(data.Dataset):
    """Uniformly colored pairs; gt is twice as large as lq."""

    def __init__(self, opt):
        self.opt = opt

    def __len__(self):
        return 8

    def __getitem__(self, index):
        color = torch.tensor([index / 8, 0.5, 1 - index / 8]).view(3, 1, 1)
        return {"lq": color.expand(3, 6, 6), "gt": color.expand(3, 12, 12), "lq_path": str(index)}


@MODEL_REGISTRY.register()
class TheirModel(SRModel):
    """BasicSR's SRModel with a step counter."""

    steps = 0

    def optimize_parameters(self, current_iter):
        super().optimize_parameters(current_iter)
        TheirModel.steps += 1
        print(f"their step {self.steps}")
