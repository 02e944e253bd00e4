"""Triton kernels as compiled for a GPU, executed by an emulator of the GPU's instructions.

Triton's interpreter runs one program after the other and every operation at once. The emulator
interleaves warps and programs and watches bounds, races, barriers and memory that nobody wrote.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).with_name("cases.py")


@pytest.fixture(scope="module")
def results(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of all cases in all schedules."""
    emulator = shared / "gpu" / "ptxemu"
    if not emulator.is_dir():
        pytest.skip(f"no emulator in {emulator}")
    pytest.importorskip("triton", minversion="3.8")
    path = tmp_path_factory.mktemp("emulation") / "results.json"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(CASES), str(emulator), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_kernel_is_launched(results):
    assert results["launched"] == results["kernels"]


@pytest.mark.parametrize("schedule", ["fine", "lagging", "serial"])
def test_results_are_those_of_the_pytorch_backend(results, schedule):
    cases = results["cases"][schedule]
    assert len(cases) > 30
    assert {
        name: case["difference"] for name, case in cases.items() if case["difference"] > 2e-5
    } == {}


def test_the_order_of_warps_and_programs_does_not_change_a_bit(results):
    lagging, serial = results["cases"]["lagging"], results["cases"]["serial"]
    assert lagging.keys() == serial.keys()
    assert {name for name in serial if lagging[name]["bits"] != serial[name]["bits"]} == set()


@pytest.mark.parametrize("schedule", ["fine", "lagging", "serial"])
def test_no_access_is_out_of_bounds_and_no_race_changes_a_result(results, schedule):
    cases = results["cases"][schedule]
    assert {name: case["faults"] for name, case in cases.items() if case["faults"]} == {}
