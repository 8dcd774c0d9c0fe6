"""Losses that BasicSR does not have, one per file `*_loss.py`.

A loss is an `nn.Module` with `@register_in("LOSS_REGISTRY")` from `liif_basicsr.registration`. `forward(output, gt)`
receives values in [0, 1]: colors (B, Q, C) of single pixels, or images (B, C, p, p) if the dataset has `sample: patch`.
It returns a scalar. A class may set two attributes:

- `on_images = True`: the loss needs images;
- `inputs`: names of the arguments of `forward` if they are not `output` and `gt`, see `models/losses.py`.

In the options, the key under `train:` is any name that ends in `_opt`.
"""
