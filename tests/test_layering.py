"""Imports run one way, and the package stands without triton."""

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each package or module may import of colocam, itself aside. In the order of the data:
# kernels, data, models, cam, seeds, losses, postprocessing, evaluation,
# localization, report, training, cli.
FEATURES = {"kernels", "data", "models", "cam", "seeds", "losses"}
MAY_IMPORT = {
    "runtime": set(),
    "kernels": set(),
    "data": {"runtime"},
    "models": {"runtime"},
    "cam": set(),
    "seeds": {"kernels"},
    "losses": {"kernels", "seeds", "runtime"},
    "postprocessing": {"kernels", "data", "losses", "runtime"},
    "evaluation": FEATURES | {"postprocessing", "runtime"},
    "localization": FEATURES | {"postprocessing", "runtime", "evaluation"},
    "report": FEATURES | {"postprocessing", "runtime", "evaluation", "localization"},
    "training": FEATURES | {"runtime", "evaluation", "report"},
    "cli": FEATURES
    | {"postprocessing", "runtime", "evaluation", "localization", "report", "teachers", "training"}
    | {"streaming"},
    "localize": {"cli"},
    "prepare": {"cli"},
    "export": {"cli"},
    "streaming": {"data", "runtime"},
    "teachers": {"data", "runtime"},
    "seed_maps": {"cli"},
    "__init__": {"localization"},
}
MOST_FILES = 13  # of code in a folder, __init__.py included
MOST_LINES = 400  # of a file; tests aside


def sources():
    """(package or module, file) of every source file."""
    for file in sorted((ROOT / "colocam").rglob("*.py")):
        if (ROOT / "colocam/kernels") not in file.parents:  # a link to kernels/
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


def test_every_package_is_listed_here():
    assert {package for package, _ in sources()} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package):
    for own, file in sources():
        if own != package:
            continue
        for name in imported(file):
            if name.startswith("colocam."):
                other = name.split(".")[1]
                assert other == package or other in MAY_IMPORT[package], f"{file} imports {name}"


def module_graph():
    """The modules that each module imports."""
    files = {}
    for package, file in sources():
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts if package != "kernels" else ("colocam", *parts))
        files[name.removesuffix(".__init__")] = file

    def module_of(name):
        return name if name in files else name.rpartition(".")[0]

    return {
        name: {module_of(other) for other in imported(file)} & set(files)
        for name, file in files.items()
    }


def test_no_circle_between_the_modules():
    graph = module_graph()
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


def code_files():
    """Every file of code: tests aside."""
    folders = ("colocam", "kernels", "bench")
    return [*ROOT.glob("*.py"), *(file for f in folders for file in (ROOT / f).rglob("*.py"))]


def test_no_folder_has_more_files_than_a_reader_can_take_in():
    counts = Counter(file.parent.relative_to(ROOT) for file in code_files())
    assert {str(folder): n for folder, n in counts.items() if n > MOST_FILES} == {}


def test_no_file_is_too_long():
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in code_files()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_nothing_imports_the_folder_as_kernels():
    for file in [*code_files(), *(ROOT / "tests").rglob("*.py")]:
        for name in imported(file):
            assert name.split(".")[0] != "kernels", f"{file} imports {name}"


def test_every_package_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {file.parent.relative_to(ROOT).parts for _, file in sources()}
    names = {".".join(p if p[0] == "colocam" else ("colocam", *p)) for p in folders}
    assert set(settings["packages"]) == names


WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
import torch
import colocam, colocam.cli.evaluate, colocam.cli.localize, colocam.cli.train
from colocam.losses import JointCRF, SpatialCRF
images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
probs = torch.rand(2, 2, 8, 8).softmax(1)
print(SpatialCRF()(images, probs).isfinite().all().item())
print(JointCRF()(images, probs, torch.zeros(2, dtype=torch.long)).isfinite().all().item())
"""


def test_the_package_works_without_triton():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRITON], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]
