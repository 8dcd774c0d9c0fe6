"""Integrations with other programs, one module per program."""
