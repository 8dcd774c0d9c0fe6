"""The measurements of scripts/benchmark.py and their tools."""
