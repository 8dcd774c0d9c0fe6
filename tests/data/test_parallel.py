"""parallel_map returns results in order, and its workers exit with their parent, for every start method."""
from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, clean_environ

from liif_basicsr.data.prepare.parallel import parallel_map
from liif_basicsr.errors import LIIFError

METHODS = [method for method in ("fork", "spawn", "forkserver") if method in multiprocessing.get_all_start_methods()]
# A program whose workers print their process ids. It reads only the first result, so they wait at a full pipe.
PROGRAM = """
import multiprocessing, os, sys, time
from liif_basicsr.data.prepare.parallel import parallel_map

def work(item):
    print(os.getpid(), flush=True)
    return bytes(10**7)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    for result in parallel_map(work, range(100), 2, "waiting"):
        time.sleep(600)
"""


def square(number: int) -> int:
    if number == 3:
        raise LIIFError("3 is refused")
    return number**2


@pytest.fixture
def start_method(request: pytest.FixtureRequest) -> Iterator[None]:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("start_method", METHODS, indirect=True)
def test_results_and_errors_are_in_order(start_method: None, processes: int) -> None:
    results = list(parallel_map(square, range(1, 8), processes, "squares"))
    assert isinstance(results[2], LIIFError) and str(results[2]) == "3 is refused"
    assert results[:2] + results[3:] == [1, 4, 16, 25, 36, 49]


@pytest.mark.parametrize("method", METHODS)
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command, environ = [sys.executable, "program.py", method], {**clean_environ(), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, text=True, stdout=subprocess.PIPE) as process:
        workers = set[str]()
        while len(workers) < 2:
            line = process.stdout.readline()
            assert line, "the program ended by itself"
            workers.add(line.strip())
        time.sleep(0.2)
        process.kill()
        process.communicate(timeout=60)  # returns when all processes that inherited its output have exited
