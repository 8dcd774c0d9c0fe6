"""Measure networks on test sets, and write tables and curves of the results next to the paper's numbers."""
