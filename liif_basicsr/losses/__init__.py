"""Losses on windows of an image: how much detail there is, and whether it repeats with the input's pixels."""
