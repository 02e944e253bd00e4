"""bench/compile_report.py: every kernel is compiled without a GPU, and none spills.

Runs in subprocesses: whether Triton compiles or interprets is set when it is imported.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bench" / "compile_report.py"
# all kernels, with the most maps, the most dimensions and both dtypes of images
CASES = [
    "K=3", "K=4", "float", "sigma=4", "published", "features d=5", "grid features", "backward",
    "seeds", "regions", "joint cut",
]  # fmt: skip
BAD = [
    (["--arch", "91"], "--arch 91: this Triton does not compile for it"),
    (["--arch", "20"], "--arch 20: this Triton does not compile for it"),
    (["--arch", "sm_90"], "--arch: invalid int value: 'sm_90'"),
    (["--cases", "nothing"], "--cases nothing: no such case; choose from grid K=2,"),
    (["--max-registers", "8"], "--max-registers 8: must be within 24...255"),
    (["--spills"], "unrecognized arguments: --spills"),
    (["--json", "{}/file/report.json"], "cannot be written there"),
]
SWAP = "%4 = tt.atomic_cas relaxed, gpu, %1, %2, %3 : (...) -> tensor<64xi64, #blocked> loc(#loc)"
OPCODES = {"STL": 3, "STL.64": 2, "STL.LU.128": 1, "STL.U8": 1, "STG.E.64": 9, "LDL.LU": 5}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is for Linux"
)


def run_python(*arguments):
    """Runs Python with Triton's interpreter enabled, as the other tests may be."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=SCRIPT.parent,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def run_report(folder, *arguments):
    """Runs the script; the finished process, and its result file."""
    written = folder / "out" / "report.json"
    done = run_python(SCRIPT, "--arch", "90", "--json", written, *arguments)
    assert written.is_file(), done.stderr
    return done, json.loads(written.read_text())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Report of the kernels."""
    return run_report(tmp_path_factory.mktemp("report"), "--cases", *CASES)


@pytest.fixture(scope="module")
def starved(tmp_path_factory):
    """Report of kernels with too few registers."""
    arguments = ["--cases", "lattice features d=5", "--max-registers", "24", "--sass"]
    return run_report(tmp_path_factory.mktemp("starved"), *arguments)


def launched_kernels():
    """Names of functions with @triton.jit that are launched from Python: name[grid](...)."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "kernels").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    kernels = {
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        and any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list)
    }
    launches = {
        ast.unparse(node.func.value).split(".")[-1]
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)
    }
    return kernels & launches


def test_no_kernel_spills(report):
    done, result = report
    spilling = [
        f"{row['kernel']} ({row['cases'][0]}): {row['spill_stores']} B"
        for row in result["kernels"]
        if row["spill_stores"] or row["spill_loads"]
    ]
    assert not spilling
    assert result["spilling"] == 0
    assert done.returncode == 0
    assert "None of" in done.stdout


def test_no_compare_and_swap_has_fewer_keys_than_threads(report):
    done, result = report
    assert not [row["kernel"] for row in result["kernels"] if row["crowded"]]
    assert "Compare-and-swap" not in done.stdout


def test_every_launched_kernel_is_compiled(report):
    launched = launched_kernels()
    assert {"splat", "blur_axis", "half_grad_and_energy"} <= launched
    assert {row["kernel"] for row in report[1]["kernels"]} == launched


def test_numbers_are_those_of_compiled_code(report):
    for row in report[1]["kernels"]:
        assert row["arch"] == 90
        assert 8 <= row["registers"] <= 255
        assert 0 <= row["shared"] <= 227 * 1024  # limit of a program
        assert row["instructions"] > 20
        assert row["warps"] in (1, 2, 4, 8, 16)
        assert row["opcodes"] is None


def test_kernels_are_specialized_as_on_a_gpu(report):
    rows = [row for row in report[1]["kernels"] if row["kernel"] == "splat_colors"]
    by_case = {row["cases"][0]: row["arguments"] for row in rows}
    assert by_case["grid K=2 float"]["source"] == "*fp32"
    assert by_case["grid K=2 float"]["DEGREE"] == 2
    assert by_case["grid K=2 sigma=4"]["source"] == "*u8"
    assert by_case["grid K=2 sigma=4"]["DEGREE"] == 0
    for arguments in by_case.values():
        assert arguments["nodes"] == "*i64"
        assert arguments["per_step"] == "fp32"
        assert arguments["stride_x"] == 1  # the value 1 is compiled in


def test_no_specialization_is_compiled_twice(report):
    rows = report[1]["kernels"]
    # alignment, which also specializes a kernel, is not among the arguments
    assert len({json.dumps([row["kernel"], row["arguments"]]) for row in rows}) > 0.8 * len(rows)
    assert any(len(row["cases"]) > 1 for row in rows)


def test_table_has_one_line_per_kernel(report):
    done, result = report
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert len(cells) == len(result["kernels"])
    for line, row in zip(cells, result["kernels"], strict=True):
        assert line[1].split(" #")[0] == row["kernel"]
        assert line[2].startswith(row["cases"][0])
        names = ("registers", "shared", "stack", "spill_stores", "spill_loads", "instructions")
        assert [int(cell) for cell in line[3:9]] == [row[name] for name in names]
    assert len({tuple(line[1:3]) for line in cells}) == len(cells)  # distinguished by their numbers


def test_too_few_registers_spill_and_exit_status_is_1(starved):
    done, result = starved
    assert done.returncode == 1
    assert result["max_registers"] == 24
    assert all(row["registers"] <= 24 for row in result["kernels"])
    spilling = [row for row in result["kernels"] if row["spill_stores"] and row["spill_loads"]]
    assert 0 < len(spilling) == result["spilling"]
    assert f"{len(spilling)} of {len(result['kernels'])} compiled kernels spill" in done.stdout
    for row in spilling:
        assert row["stack"] > 0
        assert any(opcode.startswith("STL") for opcode in row["opcodes"])


def test_opcodes_are_counted_with_modifiers(starved):
    done, result = starved
    opcodes = {row["kernel"]: row["opcodes"] for row in result["kernels"]}
    assert any(name.startswith("RED") and ".64" in name for name in opcodes["splat"])
    assert any(name.startswith("ATOM") and "CAS.64" in name for name in opcodes["insert_ring"])
    assert any(name.startswith("STG") for name in opcodes["slice_pixels"])
    assert not any(name.startswith(("LDL", "STL")) for name in opcodes["collect"])
    assert "sm_90 splat, lattice features d=5: " in done.stdout


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A process that imports the script: results of main() and of helper functions, stderr."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").write_text("")
    written = ["--json", str(folder / "out" / "report.json")]
    commands = [[*written, *(a.format(folder) for a in arguments)] for arguments, _ in BAD]
    program = (
        "import json, compile_report as c; from lib import compiled_kernels as k; "
        f"statuses = [c.main(command) for command in {commands}]; "
        f"sizes = [k.local_bytes(name, {OPCODES}) for name in ('STL', 'LDL')]; "
        f"crowded = [k.is_crowded({SWAP!r}, warps) for warps in (2, 4)]; "
        "print(json.dumps([statuses, sizes, crowded]))"
    )
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    return folder, *json.loads(done.stdout), done.stderr


def test_bad_input_is_one_line_and_nothing_is_written(imported):
    folder, statuses, _, _, errors = imported
    assert statuses == [2] * len(BAD)
    for line, (_, what) in zip(errors.splitlines(), BAD, strict=True):
        assert line.startswith("error: ")
        assert what in line
    assert list(folder.iterdir()) == [folder / "file"]


def test_bytes_of_local_memory_are_counted_by_width(imported):
    assert imported[2] == [3 * 4 + 2 * 8 + 16 + 1, 5 * 4]


def test_compare_and_swap_with_fewer_keys_than_threads_is_detected(imported):
    assert imported[3] == [False, True]
