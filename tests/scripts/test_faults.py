"""The short form of scripts/faults.py finds no violation."""
import subprocess
import sys

from experiment import ROOT


def test_no_fault_does_harm():
    command = [sys.executable, ROOT / "scripts" / "faults.py", "--short"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 17 and all(row[-1] == "0 |" for row in rows)
