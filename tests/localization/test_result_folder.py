"""Output folder of localization: names of results, and what an earlier call wrote there."""

import json
import os
from pathlib import Path

import pytest

from colocam.localization.result_folder import ResultFolder
from colocam.runtime.errors import UserError


def records(video, count=1):
    return [{"video": str(video), "frame": number} for number in range(count)]


def localize(folder, *videos, count=1):
    """Adds results of videos as the command does; returns their names and the notes."""
    results, notes = ResultFolder(folder), []
    names = results.names(videos, notes)
    for name, video in zip(names, videos, strict=True):
        for end in (".csv", "-overlay.mp4"):
            folder.mkdir(exist_ok=True)
            (folder / f"{name}{end}").write_bytes(os.fsencode(video))
        results.add(name, video, records(results.video(video), count))
    results.write_records()
    return names, notes


def stored(folder):
    """Numbers of records of each video in boxes.json."""
    counts = {}
    for record in json.loads((folder / "boxes.json").read_text()):
        counts[record["video"]] = counts.get(record["video"], 0) + 1
    return counts


def test_names_are_unique_ignoring_case(tmp_path):
    (tmp_path / "v1.2").mkdir()
    given = ["a/cat.mp4", "cat-2.mp4", "b/cat.avi", "Cat.mp4", "v1.2", "größe.mp4", "gro\u0308ße"]
    names = ResultFolder(tmp_path / "out").names([tmp_path / name for name in given], notes := [])
    assert names == ["cat", "cat-2", "cat-3", "Cat-4", "v1.2", "größe", "gro\u0308ße-2"]
    assert notes == [
        "results of 3 videos get a number, as others of the same name are kept (first: "
        f"{tmp_path}/b/cat.avi: cat-3)"
    ]


def test_the_same_video_replaces_its_result(tmp_path):
    out, videos = tmp_path / "out", [tmp_path / "p" / "clip.mp4", tmp_path / "q" / "clip.mp4"]
    assert localize(out, *videos)[0] == ["clip", "clip-2"]
    assert localize(out, videos[1], count=3) == (["clip-2"], [])
    assert stored(out) == {str(videos[0]): 1, str(videos[1]): 3}
    assert localize(out, *reversed(videos), count=2) == (["clip-2", "clip"], [])
    assert stored(out) == {str(videos[0]): 2, str(videos[1]): 2}


def test_another_video_gets_the_next_name(tmp_path):
    out, videos = tmp_path / "out", [tmp_path / name / "clip.mp4" for name in "pq"]
    localize(out, videos[0])
    names, (note,) = localize(out, videos[1])
    assert names == ["clip-2"]
    assert f"(first: {videos[1]}: clip-2)" in note
    assert (out / "clip.csv").read_text() == str(videos[0])
    assert stored(out) == {str(videos[0]): 1, str(videos[1]): 1}


def test_videos_of_the_same_relative_path_are_kept_apart(tmp_path, monkeypatch):
    out = tmp_path / "out"
    for name in ("p", "q"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        localize(out, Path("clip.mp4"))
    assert stored(out) == {"clip.mp4": 1, str(tmp_path / "q" / "clip.mp4"): 1}
    localize(out, Path("clip.mp4"), count=2)
    assert stored(out) == {"clip.mp4": 1, str(tmp_path / "q" / "clip.mp4"): 2}


@pytest.mark.parametrize("name", ["clip.csv", "clip-overlay.mp4", "clip.html"])
def test_files_of_a_user_are_kept(tmp_path, name):
    (tmp_path / name).write_text("mine")
    assert localize(tmp_path, tmp_path / "p" / "clip.mp4")[0] == ["clip-2"]
    assert (tmp_path / name).read_text() == "mine"


def test_results_of_earlier_versions_are_kept(tmp_path):
    (tmp_path / "clip.csv").touch()
    (tmp_path / "boxes.json").write_text(json.dumps(records("p/clip.mp4", 2)))
    assert localize(tmp_path, tmp_path / "q" / "clip.mp4")[0] == ["clip-2"]
    assert stored(tmp_path) == {"p/clip.mp4": 2, str(tmp_path / "q/clip.mp4"): 1}


@pytest.mark.parametrize("text", ["", "3", "[1]", '[{"file": 1}]', "\xff", "[" * 100_000])
@pytest.mark.parametrize("name", ["boxes.json", "videos.json"])
def test_a_file_of_a_user_in_place_of_the_records_raises(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"{name}: was not written by localize; move it away"):
        ResultFolder(tmp_path)


def test_names_that_are_no_text_are_found_again(tmp_path):
    video = tmp_path / "clip\udcff.mp4"
    assert localize(tmp_path / "out", video)[0] == ["clip\udcff"]
    assert localize(tmp_path / "out", video, count=2) == (["clip\udcff"], [])
    assert [*stored(tmp_path / "out").values()] == [2]
