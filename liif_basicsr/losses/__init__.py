"""The plugin's losses, one per `*_loss.py`."""
