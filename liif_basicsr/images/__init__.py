"""People's images: read, enlarged and written, as files, Pillow images and arrays."""
