"""The viewer: a local page in which one zooms into a picture, decoded at just the resolution on the screen."""
