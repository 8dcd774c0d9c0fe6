"""A program that upscales with Real-ESRGAN's code and the plugin's networks: `enlarge.py CASES FOLDER`."""
import json
import sys
from pathlib import Path

import liif_basicsr  # isort: skip

import cv2
import numpy as np
from realesrgan import RealESRGANer

cases, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
for name, (image, model, scale, how, outscale) in cases.items():
    net = liif_basicsr.load(model)
    net.scale = scale
    enlarger = RealESRGANer(scale, model, model=net, **how)
    output, mode = enlarger.enhance(cv2.imread(image, cv2.IMREAD_UNCHANGED), outscale)
    np.savez(folder / name, output=output, mode=mode)
