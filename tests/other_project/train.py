"""The training script of a project that builds on BasicSR. Only `import liif_basicsr` is for the plugin."""
from os import path as osp

import liif_basicsr  # noqa: F401 # isort: skip

import parts  # noqa: F401
from basicsr.train import train_pipeline

if __name__ == "__main__":
    train_pipeline(osp.abspath(osp.join(__file__, osp.pardir)))
