"""What must not happen to a person's work, done many times: `scripts/faults.py` runs it all, a test a short form.

Each part does something that goes wrong to real files and real processes, by a seed, and tells how each ended.
"""
