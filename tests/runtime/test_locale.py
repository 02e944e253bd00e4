"""Names of files in a locale that is not UTF-8: one legible line, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

OPEN = """
import sys
from colocam.data.layouts.class_folder import open_class_folders
from colocam.runtime.console import make_console
from colocam.runtime.entry import exit_status
from pathlib import Path

def run():
    make_console().print(sys.argv[1], chr(215))
    open_class_folders(Path(sys.argv[1]), [])

sys.exit(exit_status(run))
"""


def opened(folder, **environment):
    """Exit status, stdout and stderr, as bytes, of a command that opens a data folder."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, folder],
        cwd=ROOT, capture_output=True, env=os.environ | environment,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def data(tmp_path, write_video):
    write_video(tmp_path / "dä" / "größe" / "v", 1)
    return tmp_path / "dä"


def test_names_are_legible_in_an_ascii_locale(data):
    status, out, error = opened(data, **ASCII)
    assert status == 2
    assert out == f"{data} ".encode() + b"\\xd7\n"
    assert error.decode() == (
        f"error: {data}/größe: its name cannot be read in this locale (ascii); set PYTHONUTF8=1, "
        "or a locale of UTF-8 such as LC_ALL=C.UTF-8\n"
    )


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, ASCII | {"PYTHONUTF8": "1"}])
def test_names_are_read_in_utf8_mode(data, environment):
    assert opened(data, **environment) == (0, f"{data} ×\n".encode(), b"")


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, ASCII])
def test_names_that_are_no_text_are_reported_in_every_locale(tmp_path, environment):
    folder = os.fsencode(tmp_path) + b"/data/gr\xf6\xdfe/v"
    os.makedirs(folder)
    status, _, error = opened(tmp_path / "data", **environment)
    assert status == 2
    assert error.endswith(b": its name is not UTF-8; rename it\n")
    assert error.count(b"\n") == 1
