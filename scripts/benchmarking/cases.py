"""Network and image sizes of the benchmark."""

NETWORK = {"type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 64, "num_block": 16}}
LOW, HIGH = (96, 96), (384, 384)
LARGE_LOW, LARGE_HIGH = (339, 510), (1356, 2040)  # on a GPU, where a small image is bound by launches
