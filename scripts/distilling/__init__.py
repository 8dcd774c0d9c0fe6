"""Parts of distill_on_gpu.py."""
