"""Available memory of the machine and of a container."""
import psutil
import pytest

from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory


def container(folder, limit, used, cache):
    """Write the files of cgroup v2 to `folder`, and return the value of `memory.CGROUPS` for them."""
    for name, value in (("max", limit), ("current", used), ("stat", f"anon 5\ninactive_file {cache}\nfile 9")):
        (folder / f"memory.{name}").write_text(f"{value}\n")
    return ((*(str(folder / f"memory.{name}") for name in ("max", "current", "stat")), "inactive_file"),)


def test_container_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUPS", container(tmp_path, 1000, 700, 200))
    assert memory.available() == 500


@pytest.mark.parametrize("limit", ["max", 1 << 62])
def test_machine_memory_without_a_container_limit(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(memory, "CGROUPS", container(tmp_path, limit, 700, 200))
    assert memory.available() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_output_that_exceeds_memory(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2 << 30)
    memory.check_memory("size", 2 << 30, "less")
    says = r"size: the output does not fit into memory \(3.0 GiB needed, 2.0 GiB free\); choose a smaller one, or less"
    with pytest.raises(LIIFError, match=says):
        memory.check_memory("size", 3 << 30, "less")
