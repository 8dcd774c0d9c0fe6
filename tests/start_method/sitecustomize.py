"""On PYTHONPATH of what the tests run, where LIIF_TEST_START_METHOD says how processes are to be started."""
import multiprocessing
import os

multiprocessing.set_start_method(os.environ["LIIF_TEST_START_METHOD"])
