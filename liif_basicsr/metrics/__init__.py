"""Metrics, one per file.

A metric is a function with `@register_in("METRIC_REGISTRY")` from `liif_basicsr.registration`. `metric(img, img2)`
returns a float. `LIIFModel` passes float tensors (1, C, H, W) in [0, 1]; BasicSR's own models pass uint8 arrays
(H, W, 3) in BGR order. If the function accepts `crop_border` or `test_y_channel`, `LIIFModel` passes the values of the
dataset's `protocol`. A metric whose lowest value is the best needs `better: lower` in the options.
"""
