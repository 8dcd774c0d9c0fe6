"""Upscaling and warping of images: files, Pillow images, arrays and tensors."""
