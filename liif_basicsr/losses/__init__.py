"""Losses for windows of an image, one per `*_loss.py`."""
