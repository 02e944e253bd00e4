"""Training steps on a GPU that is not there: no device is mixed, and nothing waits for the host.

PyTorch's fake tensors have shape, type and device but no data. The steps of all configurations are
taken with them; whatever reads a value, copies with blocking or mixes devices is noted.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = Path(__file__).with_name("steps.py")


@pytest.fixture(scope="module")
def waits(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What was noted, by configuration."""
    tool = shared / "gpu" / "fake_gpu.py"
    if not tool.is_file():
        pytest.skip(f"no {tool}")
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    path = tmp_path_factory.mktemp("emulation") / "steps.json"
    command = [sys.executable, str(STEPS), str(tool.parent), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(path.read_text())
    return found


def test_a_blocking_copy_is_noticed(waits):
    assert any("from pageable" in note for note in waits["waiting"])


def test_no_step_waits_for_the_host_or_mixes_devices(waits):
    assert len(waits) > 50
    assert {name: notes for name, notes in waits.items() if notes and name != "waiting"} == {}
