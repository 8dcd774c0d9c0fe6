"""Network and image sizes of the benchmark."""

NETWORK = {"type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 64, "num_block": 16}}
LOW, HIGH = (96, 96), (384, 384)
LARGE_LOW, LARGE_HIGH = (339, 510), (1356, 2040)  # for a GPU, where kernel launches dominate for small images
