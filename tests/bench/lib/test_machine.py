"""bench/lib/machine.py: CPU use of other processes."""

import subprocess
import sys

import pytest

from lib import machine


def test_share_of_other_processes_excludes_this_one(monkeypatch):
    seconds = iter([(100.0, 50.0, 7.0), (120.0, 65.0, 12.0), None])  # all, busy, own
    monkeypatch.setattr(machine, "_cpu_seconds", lambda: next(seconds))
    others = machine.OtherProcesses()
    assert others.percent() == 50
    assert others.percent() is None


def test_finished_child_processes_count_as_this_process():
    before = machine._cpu_seconds()
    if before is None:
        pytest.skip("the system does not report it")
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert machine._cpu_seconds()[2] - before[2] >= 0.28
