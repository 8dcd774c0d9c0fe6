"""Decoders: modules that turn a feature grid and coordinates into colours."""
