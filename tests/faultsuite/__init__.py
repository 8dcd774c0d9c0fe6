"""Inject faults that must not harm a user's work. `scripts/faults.py` runs all of them, and a test a short version.

Each part injects one kind of fault into real files and processes, from a seed, and counts the outcomes.
"""
