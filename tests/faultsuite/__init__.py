"""Injects faults that must not harm a user's work; `scripts/faults.py` runs all, a test a short form.

Each part injects one kind of fault into real files and processes, from a seed, and counts the outcomes.
"""
