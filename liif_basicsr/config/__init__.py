"""Typed options."""
