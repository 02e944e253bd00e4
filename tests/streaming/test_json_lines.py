"""JSON lines: no file is replaced, and none ends within a line."""

import errno
import io
import json
import sys

import pytest

import colocam.streaming.json_lines
from colocam.runtime.errors import WriteError
from colocam.streaming.json_lines import LinesFile, LinesOutput


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    lines = LinesFile(tmp_path / "out", "camera-0")
    for number in range(3):
        lines.write({"frame": number, "class": "Füchse \udcff"})
        text = (tmp_path / "out" / "camera-0.jsonl").read_text()
        assert [json.loads(line)["frame"] for line in text.splitlines()] == [*range(number + 1)]
    lines.close()
    assert "Füchse" in text


def test_earlier_files_are_kept(tmp_path):
    (tmp_path / "a-2.jsonl").mkdir()
    for number in ("", "-3"):
        lines = LinesFile(tmp_path, "a")
        lines.write({"number": number})
        lines.close()
        assert lines.name == str(tmp_path / f"a{number}.jsonl")
    assert (tmp_path / "a.jsonl").read_text() == '{"number": ""}\n'


def test_a_full_disk_leaves_complete_lines(tmp_path, monkeypatch):
    class Full(io.FileIO):
        room = 25

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            part = data[: self.room]
            self.room -= len(part)
            return super().write(part)

    monkeypatch.setattr(colocam.streaming.json_lines, "FileIO", Full)
    lines = LinesFile(tmp_path, "a")
    lines.write({"frame": 1})
    with pytest.raises(WriteError, match=r"a\.jsonl: cannot be written \(No space left"):
        lines.write({"frame": 2, "class": "cat"})
    lines.close()
    assert (tmp_path / "a.jsonl").read_text() == '{"frame": 1}\n'


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"a\.jsonl: cannot be written"):
        LinesFile(tmp_path / "file", "a")


def test_standard_output_is_written_at_once(capsysbinary):
    LinesOutput().write({"class": "ä"})
    assert capsysbinary.readouterr().out == '{"class": "ä"}\n'.encode()


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "No space left")])
def test_standard_output_that_cannot_be_written(monkeypatch, error):
    class Broken:
        def write(self, data):
            raise error

    class Output:
        buffer = Broken()

    monkeypatch.setattr(sys, "stdout", Output())
    monkeypatch.setattr("colocam.runtime.console._discard", lambda stream: None)
    expected = BrokenPipeError if isinstance(error, BrokenPipeError) else WriteError
    with pytest.raises(expected):
        LinesOutput().write({})
