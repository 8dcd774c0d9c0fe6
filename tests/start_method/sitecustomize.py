"""Sets the start method of processes to LIIF_TEST_START_METHOD. This folder is in the PYTHONPATH of subprocesses."""
import multiprocessing
import os

multiprocessing.set_start_method(os.environ["LIIF_TEST_START_METHOD"])
