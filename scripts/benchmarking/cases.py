"""Network and image sizes of the benchmark."""

NETWORK = {"type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 64, "num_block": 16}}
LOW, HIGH = (96, 96), (384, 384)
