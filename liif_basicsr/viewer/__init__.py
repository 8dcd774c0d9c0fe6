"""Viewer: a local web page that zooms into an image and decodes it at the resolution of the screen."""
