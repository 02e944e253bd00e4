"""Command localize with --report: the page of each video, beside its other outputs."""

import csv
import json
import re

import pytest

from colocam.cli.localize import main


@pytest.fixture
def localize(tiny_run, tmp_path):
    """Runs the command with --report and without overlays; returns its exit status."""

    def run(*arguments):
        argv = [*map(str, arguments), "--ckpt", str(tiny_run.checkpoint("localizer-best"))]
        argv += ["--out", str(tmp_path / "out"), "--device", "cpu", "--overlay", "off"]
        return main([*argv, "--report"])

    return run


def lines_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("boxes", ["largest", "all"])
def test_the_page_agrees_with_the_table(localize, write_video, tmp_path, capsys, boxes):
    video = write_video(tmp_path / "clip", 8)
    (video / "0003.jpg").write_bytes(b"")
    options = ["--boxes", boxes, "--smooth", "0.3", "--empty-over"]
    assert localize(video, *options, "1") == 0
    lines = lines_of(tmp_path / "out" / "clip.csv")
    over = sorted({line["empty"] for line in lines})[3]
    assert localize(video, *options, over) == 0
    page = (tmp_path / "out" / "clip.html").read_text()
    assert str(tmp_path / "out" / "clip.html") in capsys.readouterr().out
    headline = dict(re.findall(r"<dt>(.*?)</dt><dd>([^<]*)", page))
    lines = lines_of(tmp_path / "out" / "clip.csv")
    records = json.loads((tmp_path / "out" / "boxes.json").read_text())
    boxed = {line["frame"] for line in lines if line["x0"]}
    empty = {int(line["frame"]) for line in lines if line["class"] and not line["x0"]}
    listed = re.findall(r"<td>(?:(\d+) to )?(\d+)</td><td>\d+</td><td>\d+\.\d\d s</td>", page)
    assert {k for a, b in listed for k in range(int(a or b), int(b) + 1)} == empty | {3}
    assert headline["frames"] == "8"
    assert headline["length"] == "0.32 s"
    assert headline["frames with a box"] == f"{100 * len(boxed) / 8:.1f} %"
    scores = [record["score"] for record in records if record["box"]]
    assert 0 < len(scores) < 7
    assert float(headline["mean score"]) == pytest.approx(sum(scores) / len(scores), abs=0.0051)
    classes = [record["class"] for record in records]
    assert headline["most frequent class"] == max(classes, key=classes.count)
    shown = [headline[name] for name in ("--boxes", "--smooth", "--empty-over", "--class")]
    assert shown == [boxes, "0.3", f"{float(over)}", "-"]
    tracks = {number for record in records for number in record.get("tracks", ())}
    assert headline.get("tracks", "0") == str(len(tracks))


def test_without_the_option_there_is_no_page(tiny_run, write_video, tmp_path):
    argv = [write_video(tmp_path / "cat.mp4", 2), "--ckpt", tiny_run.checkpoint("localizer-best")]
    assert main([*map(str, argv), "--out", str(tmp_path / "out"), "--overlay", "off"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "boxes.json", "cat.csv", "videos.json",
    ]  # fmt: skip


def test_a_page_that_cannot_be_written_is_skipped_and_counted(
    localize, write_video, tmp_path, capsys
):
    videos = [write_video(tmp_path / name, 2) for name in ("cat.mp4", "dog.mp4")]
    assert localize(*videos) == 0
    (tmp_path / "out" / "cat.html").unlink()
    (tmp_path / "out" / "cat.html").mkdir()
    before = (tmp_path / "out" / "boxes.json").read_bytes()
    capsys.readouterr()
    assert localize(*videos) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 1 of 2 videos is without a result and skipped (first: ")
    assert "cat.html: cannot be written (" in error
    assert error.endswith("; no --report writes boxes only\n")
    assert (tmp_path / "out" / "boxes.json").read_bytes() == before
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_page_of_the_user_is_kept(localize, write_video, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cat.html").write_text("mine")
    assert localize(write_video(tmp_path / "cat.mp4", 2)) == 0
    assert (tmp_path / "out" / "cat.html").read_text() == "mine"
    assert (tmp_path / "out" / "cat-2.html").is_file()
