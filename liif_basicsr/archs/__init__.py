"""Networks that answer any coordinate of an image."""
