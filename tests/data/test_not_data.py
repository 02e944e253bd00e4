"""Data folders with files of systems and outputs of the commands in them."""

import shutil

import pytest

from colocam.cli.evaluate import main as evaluate
from colocam.cli.localize import main as localize
from colocam.cli.prepare import main as prepare
from colocam.data.layouts.open import open_data
from colocam.data.not_data import holds_only_outputs, is_output, is_system_name
from colocam.data.prepare.source_set import Faults, walk
from colocam.localization.input_videos import find_videos
from colocam.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

SYSTEM_FOLDERS = (
    *("@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX"),
    *(".Trash-1000", "#recycle"),
)
SYSTEM_FILES = ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.mp4")


@pytest.fixture
def data(tmp_path, write_video):
    """Two classes, each with a video file and a folder of frames."""
    for name in ("cross", "rings"):
        write_video(tmp_path / "data" / name / "0.mp4", 4)
        write_video(tmp_path / "data" / name / "frames", 4)
    return tmp_path / "data"


@pytest.fixture
def ckpt(tiny_run):
    return ["--ckpt", str(tiny_run.checkpoint("localizer-best")), "--device", "cpu"]


def opened(data):
    """Classes, shots and evaluation frames of a data folder, and the notes that say "skipped"."""
    found = open_data(data)
    ids = [record.id for record in (*found.train, *found.val, *found.test)]
    return (found.classes, ids), [note for note in found.notes if "skipped" in note]


def add_system_entries(folder, write_video):
    for name in SYSTEM_FOLDERS:
        write_video(folder / name / "0.mp4", 1)
        write_video(folder / name / "cat" / "frames", 1)
    for name in SYSTEM_FILES:
        (folder / name).write_bytes(b"\0")


def test_files_and_folders_of_systems_are_skipped_in_one_note(data, write_video):
    before, _ = opened(data)
    add_system_entries(data, write_video)
    add_system_entries(data / "cross", write_video)
    count = 2 * len(SYSTEM_FOLDERS + SYSTEM_FILES)
    note = f"{count} items of the system skipped (first: #recycle)"
    assert opened(data) == (before, [note])


def test_files_and_folders_of_systems_are_not_localized(data, write_video):
    before = find_videos([data], data / "out", notes := [])
    assert notes == []
    add_system_entries(data, write_video)
    assert find_videos([data], data / "out", notes) == before
    count = len(SYSTEM_FOLDERS + SYSTEM_FILES)
    assert notes == [f"{count} items of the system skipped (first: {data / '#recycle'})"]


def test_files_and_folders_of_systems_are_not_prepared(data, write_video):
    before = [folder for folder, _ in walk([data])]
    add_system_entries(data, write_video)
    faults = Faults()
    assert [folder for folder, _ in walk([data], faults)] == before
    (line,) = faults.lines()
    assert line.startswith("files and folders of the system skipped: 11 (first: ")


@pytest.mark.parametrize(
    "name", ["lost and found", "Thumbs", "MACOSX", "trash", "recycle", "_.mp4", "0.mp4", "cat"]
)
def test_names_of_users_are_no_system_names(name):
    assert not is_system_name(name)


def test_outputs_of_localization_are_no_class_and_no_video(data, ckpt, capsys):
    before, _ = opened(data)
    video = str(data / "cross/0.mp4")
    for out in ("localized", "cross", "cross/localized", "mine/deeper"):
        assert localize([video, *ckpt, "--out", str(data / out)]) == 0
    assert localize([video, *ckpt, "--overlay", "off", "--out", str(data / "tables")]) == 0
    note = "4 outputs of colocam skipped (first: cross/0-overlay.mp4)"
    assert opened(data) == (before, [note])
    (data / "localized" / "boxes.json").unlink()
    (data / "tables" / "0.csv").unlink()
    assert opened(data) == (before, [note])
    capsys.readouterr()
    assert localize([str(data), *ckpt, "--overlay", "off", "--out", str(data / "new")]) == 0
    assert "0-overlay.mp4" not in "".join(capsys.readouterr().out.splitlines()[2:])


def test_results_of_streams_are_no_class(data):
    before, _ = opened(data)
    (data / "localized").mkdir()
    (data / "localized" / "camera-0.jsonl").write_text('{"video": "0", "frame": 0}\n')
    note = "1 output of colocam skipped (first: localized)"
    assert opened(data) == (before, [note])
    (data / "localized" / "camera-0.jsonl").write_text('{"text": "a user\'s"}\n')
    assert not holds_only_outputs(data / "localized")


def test_runs_reports_maps_caches_and_prepared_data_are_no_classes(data, ckpt, tiny_run):
    before, _ = opened(data)
    shutil.copytree(tiny_run.out, data / "runs" / "mine")
    shutil.copytree(tiny_run.out, data / "interrupted")
    shutil.rmtree(data / "interrupted" / "report")
    (data / "interrupted" / "metrics.jsonl").unlink()
    shutil.copytree(tiny_run.data, data / "clips")
    argv = [*ckpt, "--data", str(data)]
    outputs = ["--report", str(data / "cross" / "report"), "--save-maps", str(data / "maps")]
    assert evaluate([*argv, *outputs, "--cache", str(data / "cache")]) == 0
    assert evaluate([*argv, "--report", str(data / "report")]) == 0
    assert prepare(["splits", str(data), "--frames", str(data / "frames")]) == 0
    written = ["runs", "interrupted", "clips", "cross/report", "maps", "cache", "report", "frames"]
    note = f"{len(written)} outputs of colocam skipped (first: cache)"
    assert opened(data) == (before, [note])
    found = find_videos([data / "cross", data / "report"], data / "out", notes := [])
    assert [path.name for path in found] == ["0.mp4", "frames", "report"]  # given: not skipped
    assert notes == [f"1 output of colocam skipped (first: {data / 'cross/report'})"]


def test_a_folder_of_a_user_is_no_output(tmp_path, write_video):
    write_video(tmp_path / "cat-overlay.mp4", 1)
    (tmp_path / "cat.csv").write_text("frame,label\n0,cat\n")
    assert not is_output(tmp_path / "cat-overlay.mp4")  # a table of other columns
    assert not holds_only_outputs(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert not holds_only_outputs(empty)
    (empty / "boxes.json").write_text('{"video": "0.mp4"}')
    (empty / "config.json").write_text("{}")
    (empty / "features.npy").write_bytes(b"")
    assert not holds_only_outputs(empty)


def test_a_folder_that_holds_outputs_only_raises(data, ckpt):
    assert localize([str(data / "cross/0.mp4"), *ckpt, "--out", str(data / "out")]) == 0
    for name in ("cross", "rings"):
        shutil.rmtree(data / name)
    with pytest.raises(UserError, match="holds no class folder but outputs of colocam"):
        open_data(data)
