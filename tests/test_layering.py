"""Imports run one way, and the package stands without triton."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each room or module may import of colocam, itself aside.
FEATURES = {"kernels", "losses", "cam", "seeds", "model", "video", "errors", "files"}
ENTRY = {"entry", "device", "distribution", "errors"}
MAY_IMPORT = {
    "errors": set(),
    "entry": {"errors"},
    "files": {"errors"},
    "device": {"errors"},
    "distribution": {"errors"},
    "config": {"entry", "errors"},
    "kernels": set(),
    "video": {"entry", "errors"},
    "model": {"errors", "files"},
    "cam": set(),
    "seeds": set(),
    "losses": {"kernels", "seeds", "errors"},
    "evaluation": FEATURES | ENTRY | {"mp4"},
    "training": FEATURES | ENTRY | {"evaluation", "config"},
    "inference": FEATURES | ENTRY | {"evaluation"},
    "whole_video": {"evaluation", "inference", "video"},
    "mp4": {"errors", "files"},
    "overlay": {"evaluation", "inference"},
    "localize": FEATURES | ENTRY | {"evaluation", "inference", "mp4", "overlay", "whole_video"},
    "__init__": {"inference"},
}


def sources():
    """(room, file) of every source file of the package."""
    for file in sorted((ROOT / "colocam").rglob("*.py")):
        yield file.relative_to(ROOT / "colocam").parts[0].removesuffix(".py"), file
    for file in sorted((ROOT / "kernels").rglob("*.py")):
        yield "kernels", file


def imported(file):
    """Full names of what a file imports, at its top or further down."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_known_here():
    assert {room for room, _ in sources()} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room):
    for own, file in sources():
        if own != room:
            continue
        for name in imported(file):
            if name.startswith("colocam."):
                other = name.split(".")[1]
                assert other == room or other in MAY_IMPORT[room], f"{file} imports {name}"


def test_no_circle_between_the_modules():
    files = {}
    for room, file in sources():
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts if room != "kernels" else ("colocam", *parts))
        files[name.removesuffix(".__init__")] = file

    def module_of(name):
        return name if name in files else name.rpartition(".")[0]

    graph = {
        name: {module_of(other) for other in imported(file)} & set(files)
        for name, file in files.items()
    }
    done, path = set(), []

    def visit(name):
        assert name not in path, f"a circle: {[*path, name]}"
        if name in done:
            return
        path.append(name)
        for other in graph[name]:
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_nothing_imports_the_folder_as_kernels():
    folders = ("colocam", "kernels", "bench", "tests")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    for file in [*files, *ROOT.glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] != "kernels", f"{file} imports {name}"


WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
import torch
import colocam, colocam.evaluation.command, colocam.localize, colocam.training.command
from colocam.losses import JointColorCRF, SpatialCRF
images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
probs = torch.rand(2, 2, 8, 8).softmax(1)
print(SpatialCRF()(images, probs).isfinite().all().item())
print(JointColorCRF()(images, probs, torch.zeros(2, dtype=torch.long)).isfinite().all().item())
"""


def test_the_package_works_without_triton():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRITON], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]
