"""Every script prints its help in a bare checkout, from any folder, without colocam installed."""

import ast
import os
import re
import subprocess
import sys

import pytest

from lib import ROOT

SCRIPTS = sorted([*(ROOT / "bench").glob("*.py"), *(ROOT / "bench/localize").glob("*.py")])
RUN_ALL = """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as exit:
        print("status", exit.code)
"""


@pytest.fixture(scope="module")
def helps(tmp_path_factory):
    """Help of every script, with another package named colocam on the path."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "colocam").mkdir()
    (folder / "colocam/__init__.py").write_text("raise ImportError('not that of the checkout')\n")
    # the folder of a script is first on its path
    path = os.pathsep.join([str(ROOT / "bench"), str(folder)])
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", RUN_ALL, *map(str, SCRIPTS)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return re.split(r"^status 0$", done.stdout, flags=re.MULTILINE)


def test_every_script_prints_its_help_in_a_bare_checkout(helps):
    *texts, rest = helps
    assert not rest.strip()
    for script, text in zip(SCRIPTS, texts, strict=True):
        assert f"usage: {script.name}" in text
        first_line = ast.get_docstring(ast.parse(script.read_text())).splitlines()[0]
        assert first_line in text


def first_import(tree, package):
    """Line of the first import of a package."""
    return min(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == package
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_lib_is_imported_before_colocam(script):
    """bench/lib puts the checkout on the path."""
    tree = ast.parse(script.read_text())
    assert first_import(tree, "lib") < first_import(tree, "colocam")


def test_readme_lists_every_script():
    text = (ROOT / "bench/README.md").read_text()
    for script in [*SCRIPTS, ROOT / "bench/on_gpu.sh"]:
        assert f"`{script.relative_to(ROOT)}" in text
