"""The viewer: a local page to zoom into an image, which is decoded at the resolution of the screen."""
