"""Images as people have them: files, Pillow's images, arrays."""
