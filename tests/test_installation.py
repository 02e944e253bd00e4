"""Installation: the wheel is complete, and train.py works with it in a checkout and elsewhere."""

import os
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = ("pyproject.toml", "README.md", "LICENSE", "train.py", "evaluate.py")
FOLDERS = ("colocam", "kernels")

if not (ROOT / "colocam" / "kernels").is_dir():
    pytest.skip("a checkout without symbolic links", allow_module_level=True)
if "pip" not in {distribution.name for distribution in distributions()}:
    pytest.skip("no pip", allow_module_level=True)  # find_spec("pip") would switch distutils
if find_spec("setuptools") is None or int(version("setuptools").split(".")[0]) < 77:
    pytest.skip("the build needs setuptools>=77", allow_module_level=True)


def run(command, folder, path=()):
    """Output of a command that must succeed; `path`: PYTHONPATH."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments, folder):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return run(command, folder)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout, so that building leaves nothing in it; links stay links."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    """The wheel, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ".",
        folder=checkout)  # fmt: skip
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder into which the wheel alone is installed."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", target, wheel, folder=target)
    return target


def package_files():
    """Every file of the packages, by its name in the wheel."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS]
    if (ROOT / ".git").exists() and shutil.which("git"):
        names = {Path(line) for line in run(command, ROOT).splitlines()}
        names = {name for name in names if (ROOT / name).is_file()}
    else:
        files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*")]
        names = {
            file.relative_to(ROOT)
            for file in files
            if file.is_file() and "__pycache__" not in file.parts
        }
    return {
        (Path("colocam") / name if name.parts[0] == "kernels" else name).as_posix()
        for name in names
    }


def test_wheel_has_every_module_and_data_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package_files()
    assert {"colocam/kernels/ops.py", "colocam/kernels/permutohedral/__init__.py"} <= names


def test_wheel_has_no_symbolic_link(wheel):
    with zipfile.ZipFile(wheel) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert not [name for name, mode in modes.items() if stat.S_ISLNK(mode)]


def test_wheel_has_the_console_scripts(wheel, installed):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        lines = archive.read(name).decode().split("[console_scripts]")[1].strip().splitlines()
        modules = {f"{file}".removesuffix(".py").replace("/", ".") for file in archive.namelist()}
    assert dict(line.split(" = ") for line in lines) == scripts
    assert {target.partition(":")[0] for target in scripts.values()} <= modules
    assert scripts.keys() == {path.stem for path in (installed / "bin").iterdir()}


INSTALLED_ALONE = """
import colocam, colocam.kernels
print(colocam.__file__, colocam.kernels.__file__)
from colocam.cli.train import main
main(["--help"])
"""


def test_installed_package_works_from_any_folder(installed, tmp_path):
    output = run([sys.executable, "-c", INSTALLED_ALONE], tmp_path, [installed])
    files = output.splitlines()[0].split()
    assert [Path(file).is_relative_to(installed) for file in files] == [True, True]
    assert "usage: train.py" in output


@pytest.mark.parametrize("inside", [True, False])
def test_checkout_works_beside_an_installed_package(checkout, installed, tmp_path, inside):
    """The package next to train.py is imported, and finds its kernels by the symbolic link."""
    folder = checkout if inside else tmp_path
    train = "train.py" if inside else str(checkout / "train.py")
    assert "usage: train.py" in run([sys.executable, train, "--help"], folder, [installed])
