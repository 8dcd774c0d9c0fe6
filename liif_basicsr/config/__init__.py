"""Pydantic models of the options."""
