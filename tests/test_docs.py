"""Documentation: links, options and tests that it names exist."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    if path.is_file()
)
COMMANDS = {
    "train.py": ["train.py", "--help-all"],
    "evaluate.py": ["evaluate.py", "--help-all"],
    "localize": ["-m", "colocam.localize", "--help-all"],
    "export": ["-m", "colocam.export", "--help"],
    "seed_maps": ["-m", "colocam.seed_maps", "--help"],
    "prepare": ["-m", "colocam.prepare", "--help"],
    "bench/real.py": ["bench/real.py", "--help"],
    "prepare splits": ["-m", "colocam.prepare", "splits", "--help"],
    "prepare youtube-objects-v1": ["-m", "colocam.prepare", "youtube-objects-v1", "--help"],
}
OTHER_TOOLS = {  # options of torchrun, pytest, ruff, git and the benchmarks
    *("--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--dist", "--check"),
    *("--budget", "--help", "--help-all", "--video"),
}


def name_of(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """The anchors of a page's headings, and those set by hand."""
    text = page.read_text()
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    found = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return found | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name_of(page)}: {link}"
        assert not anchor or anchor in anchors(file), f"{name_of(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_in_code_spans_exist(page):
    named = re.findall(r"`((?:colocam|kernels|bench|docs|tests)/[\w./-]+)`", page.read_text())
    for name in named:
        if "NAME" in name:  # a pattern
            continue
        assert (ROOT / name).exists(), f"{name_of(page)}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_marks_of_a_merge_are_left(page):
    marks = ("<<<<<<< ", ">>>>>>> ")
    assert [line for line in page.read_text().splitlines() if line.startswith(marks)] == []


def test_readme_fits_a_few_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.fixture(scope="module")
def options():
    """Every option of the commands."""
    found = set(OTHER_TOOLS)
    for command in COMMANDS.values():
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found |= set(re.findall(r"--[a-z][a-z0-9-]*", done.stdout))
    return found


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=name_of)
def test_options_exist(page, options):
    text = page.read_text().replace("--TERM-", "--coloc-")
    text = re.sub(r"bench/\w+\.py[^`\n]*", "", text)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
    assert named <= options


def test_tests_named_in_the_table_of_faults_exist():
    text = (ROOT / "docs" / "faults.md").read_text()
    for file in re.findall(r"`([\w/]+\.py)`", text):
        assert (ROOT / "tests" / file).is_file(), file
    tree = ast.parse((ROOT / "tests/cli/test_bad_input.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    for start, end in re.findall(r"`(test_\w+|)…(\w*)`", text):
        assert any(n.startswith(start) and n.endswith(end) for n in names), f"{start}…{end}"
    for name in re.findall(r"`…(\w+)…`", text):
        assert any(name in n for n in names), name


def test_examples_of_the_filter_run():
    page = (ROOT / "docs" / "kernels.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    torch.manual_seed(0)
    names = {
        "images": torch.randint(0, 256, (4, 3, 12, 16), dtype=torch.uint8),
        "probs": torch.rand(4, 2, 12, 16).softmax(1),
        "group": torch.tensor([0, 0, 1, 1]),
        "sequence": torch.tensor([0, 0, 1, 1]),
        "G": 2,
        "values": torch.rand(20, 3),
        "features": torch.rand(20, 4),
    }
    energies, _, filtered = example.partition("out = ")
    exec(energies, names)
    assert names["energy"].shape == (2,)
    exec("out = " + filtered, names | {"group": torch.zeros(20, dtype=torch.long)})
