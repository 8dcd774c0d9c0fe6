"""Sets the start method of processes to LIIF_TEST_START_METHOD; on PYTHONPATH of the tests' subprocesses."""
import multiprocessing
import os

multiprocessing.set_start_method(os.environ["LIIF_TEST_START_METHOD"])
