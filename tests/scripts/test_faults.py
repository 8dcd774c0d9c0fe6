"""`scripts/faults.py` in its short form: nothing is lost, nothing hangs, all is told in a line."""
import subprocess
import sys

from experiment import ROOT


def test_the_short_form_finds_nothing():
    command = [sys.executable, ROOT / "scripts" / "faults.py", "--short"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 11 and all(row[-1] == "0 |" for row in rows)
