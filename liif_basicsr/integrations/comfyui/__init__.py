"""A node for ComfyUI. Link or copy this folder into ComfyUI's `custom_nodes`; see docs/comfyui.md.

Even a copy of the folder only imports the node from the installed package.
"""
from liif_basicsr.integrations.comfyui.node import LIIFUpscale

NODE_CLASS_MAPPINGS = {"LIIFUpscale": LIIFUpscale}
NODE_DISPLAY_NAME_MAPPINGS = {"LIIFUpscale": "Upscale Image (LIIF)"}
