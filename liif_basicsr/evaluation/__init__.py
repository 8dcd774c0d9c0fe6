"""Evaluate networks on test sets, plot the results, and write tables that also list published results."""
