"""Measures networks on sets at scales, and makes tables and curves of the results beside the paper's numbers."""
