"""The viewer: a local page in which one zooms into an image, decoded at just the resolution on the screen."""
