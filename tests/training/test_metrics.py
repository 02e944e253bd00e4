"""Metrics log: complete lines, appended after the training state that holds them."""

import json

import pytest

from colocam.cli.train import main
from colocam.runtime.errors import UserError
from colocam.training.metrics import Metrics

LINES = [{"stage": "classifier", "epoch": epoch, "loss": 0.1 * epoch} for epoch in range(3)]
TEXTS = [json.dumps(line) + "\n" for line in LINES]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_lines_are_written_once_when_flushed(path):
    metrics = Metrics(path)
    metrics.add(**LINES[0])
    assert not path.exists()
    metrics.flush()
    metrics.flush()
    metrics.add(**LINES[1])
    metrics.flush()
    assert path.read_text() == "".join(TEXTS[:2])


def test_other_rank_keeps_lines_and_writes_none(path):
    metrics = Metrics(path, writes=False)
    metrics.add(**LINES[0])
    metrics.flush()
    metrics.restore(LINES)
    assert metrics.lines == LINES
    assert not path.exists()


@pytest.mark.parametrize(
    "present",
    ["", *("".join(TEXTS[:count]) for count in (1, 2, 3)), TEXTS[0] + TEXTS[1][:9], "incomplete",
     TEXTS[1], "".join(TEXTS) + "more\n"],
)  # fmt: skip
def test_file_of_resumed_run_has_the_lines_of_its_state(path, present):
    path.write_text(present)
    metrics = Metrics(path)
    metrics.restore(LINES)
    assert path.read_text() == "".join(TEXTS)
    metrics.add(**LINES[0])
    metrics.flush()
    assert path.read_text() == "".join(TEXTS) + TEXTS[0]


def test_present_lines_are_not_written_again(path):
    path.write_text(TEXTS[0])
    inode = path.stat().st_ino
    Metrics(path).restore(LINES)
    assert path.stat().st_ino == inode


def test_lines_of_a_stage_are_read_and_an_incomplete_one_is_skipped(path):
    other = json.dumps({"stage": "localizer", "epoch": 0}) + "\n"
    path.write_text("".join(TEXTS) + other + '{"stage": "classifier"')
    assert Metrics(path).read("classifier") == LINES
    assert Metrics(path.with_name("none")).read("classifier") == []


def test_damaged_lines_are_skipped(path):
    path.write_bytes(TEXTS[0].encode() + b"\0\0\n\xff\xfe\n3\n" + TEXTS[1].encode())
    assert Metrics(path).read("classifier") == LINES[:2]
    Metrics(path).restore(LINES)
    assert path.read_text() == "".join(TEXTS)


def test_unwritable_log_is_named(tmp_path):
    metrics = Metrics(tmp_path / "none" / "metrics.jsonl")
    metrics.add(**LINES[0])
    with pytest.raises(UserError, match=r"none/metrics\.jsonl: cannot be written"):
        metrics.flush()


def test_tensorboard_has_every_number_of_the_log(tiny_run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
    assert main([*argv, "--tensorboard", "on", "--stage", "classifier"]) == 0
    (line,) = [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    shown = {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}
    numbers = {name: value for name, value in line.items() if name not in ("stage", "epoch")}
    assert shown.keys() == {f"classifier/{name}" for name in numbers}
    for name, value in numbers.items():
        assert shown[f"classifier/{name}"] == pytest.approx(value, rel=1e-6)


def test_flag_without_tensorboard_names_the_package(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    out = tmp_path / "run"
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
    assert main([*argv, "--tensorboard", "on"]) == 2
    assert "pip install 'colocam[tensorboard]'" in capsys.readouterr().err
    assert not out.exists()
