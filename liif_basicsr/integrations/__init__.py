"""Integrations with other programs, one per file."""
