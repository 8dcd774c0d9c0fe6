"""A node for ComfyUI. Link or copy this folder into ComfyUI's `custom_nodes`; see docs/comfyui.md.

A copy, too, uses the node of the installed package.
"""
from liif_basicsr.integrations.comfyui.node import LIIFUpscale

NODE_CLASS_MAPPINGS = {"LIIFUpscale": LIIFUpscale}
NODE_DISPLAY_NAME_MAPPINGS = {"LIIFUpscale": "Upscale Image (LIIF)"}
