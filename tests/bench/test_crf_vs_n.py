"""bench/crf_vs_n.py on tiny frames: every row is there and sound; mistakes are told in a line."""

import argparse
import csv
import dataclasses
import importlib.util
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from lib import (
    frames,
    machine,
    timing,
)
from lib.crf import peers
from lib.crf import table as crf_table
from lib.crf.terms import least_bytes, make_term

import crf_vs_n

SUBJECTS = [("joint", "grid"), ("joint", "permutohedral"), ("spatial", "permutohedral")]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def done(tmp_path_factory, write_video):
    """The folder that one run on the CPU has written."""
    folder = tmp_path_factory.mktemp("crf_vs_n")
    video = write_video(folder / "tiny.mp4", num_frames=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(timing.COPY_BYTES, "cpu", 2**20)
        arguments = ["--device", "cpu", "--n", "2", "1", "--size", "32", "--seconds", "0.001"]
        arguments += ["--video", str(video), "--json", str(folder / "out" / "result.json")]
        arguments += ["--methods", "grid", "permutohedral", "--no-plot"]
        assert crf_vs_n.main(arguments) == 0
    return folder / "out"


def test_every_row_is_there_with_finite_positive_times(done):
    result = json.loads((done / "result.json").read_text())
    rows = result["rows"]
    assert [(row["n"], row["term"], row["method"]) for row in rows] == [
        (n, *subject) for n in (1, 2) for subject in SUBJECTS
    ]
    for row in rows:
        for name in ("forward_ms", "forward_backward_ms", "mpixel_per_s", "floor_ms"):
            assert math.isfinite(row[name])
            assert row[name] > 0, name
        assert row["forward_min_ms"] <= row["forward_ms"] <= row["forward_max_ms"]
        assert row["roofline_percent"] == pytest.approx(
            100 * row["floor_ms"] / row["forward_backward_ms"]
        )
        assert row["mpixel_per_s"] == pytest.approx(row["n"] * 32**2 / 1e3 / row["forward_ms"])
        assert row["graph_ms"] is None
        assert row["published_ms"] is None
        assert row["device"] == "cpu"
    assert result["machine"]["torch"] == torch.__version__
    assert "triton" in result["machine"]
    assert "tiny.mp4" in result["frames"]


def test_the_errors_are_those_of_the_methods(done):
    for row in json.loads((done / "result.json").read_text())["rows"]:
        bound = 0.5 if row["method"] == "grid" else 6  # %
        assert 0 < row["filter_error_percent"] < bound
        assert row["energy_error_percent"] < bound


def test_the_csv_holds_the_same_rows(done):
    rows = json.loads((done / "result.json").read_text())["rows"]
    with (done / "result.csv").open() as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows)
    for line, row in zip(read, rows, strict=True):
        assert list(line) == list(row)
        assert float(line["forward_ms"]) == row["forward_ms"]
        assert line["graph_ms"] == ""


def test_the_table_holds_the_same_rows(done):
    rows = json.loads((done / "result.json").read_text())["rows"]
    lines = (done / "result.md").read_text().splitlines()
    table = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    assert {len(cells) for cells in table} == {len(crf_table.HEADS)}
    found = [[cell.strip() for cell in cells[:3]] for cells in table[2:]]
    assert found == [[str(row["n"]), row["term"], row["method"]] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--n", "0", "4"], "--n 0: must be at least 1"),
        (["--n", "two"], "--n: invalid int value: 'two'"),
        (["--n", "1.5"], "--n: invalid int value: '1.5'"),
        (["--size", "2"], "--size 2: must be at least 8"),
        (["--seconds", "0"], "--seconds 0: must be above 0"),
        (["--methods", "abacus"], "--methods: invalid choice: 'abacus'"),
        (["--terms", "spatial", "--methods", "grid"], "nothing is left to measure"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file or folder"),
    ],
)
def test_bad_input_is_told_in_one_line_and_nothing_is_written(arguments, what, tmp_path, capsys):
    written = tmp_path / "out" / "result.json"
    assert crf_vs_n.main(["--device", "cpu", "--json", str(written), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ")
    assert error.count("error") == 1
    assert what in error
    assert not written.parent.exists()


def test_a_result_file_that_cannot_be_written_is_told_before_measuring(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for name in ("file/result.json", "result.csv"):
        assert crf_vs_n.main(["--device", "cpu", "--json", str(tmp_path / name)]) == 2
        assert f"error: --json {tmp_path / name}: " in capsys.readouterr().err


def test_the_floor_reads_colours_and_maps_once_and_writes_the_gradient_once():
    term = make_term("spatial", torch.zeros(3, 3, 8, 5, dtype=torch.uint8), CPU, torch.float32)
    arrays = (term.images, term.probs, term.gradient("dense"))
    assert least_bytes(term.pixels) == sum(a.numel() * a.element_size() for a in arrays)
    assert least_bytes(10, maps=4) == 10 * (3 + 16 + 16)


def test_the_joint_published_time_stands_beside_its_one_case():
    assert crf_table.published_ms("joint", 64, 224) == 80
    for case in (("spatial", 64, 224), ("joint", 32, 224), ("joint", 64, 112)):
        assert crf_table.published_ms(*case) is None


def make_row(n, method, forward, whole):
    blank = dict.fromkeys(field for field in crf_table.Row.__dataclass_fields__)
    given = {"n": n, "term": "joint", "method": method, "forward_ms": forward}
    return crf_table.Row(**{**blank, **given, "forward_backward_ms": whole})


def test_ratios_are_of_64_to_16_frames():
    rows = [make_row(n, "grid", 2.0 * n, n**2) for n in (8, 16, 32, 64)]
    rows += [make_row(64, "keops", 1.0, None)]
    rows += [make_row(n, "pydensecrf2", float(n), None) for n in (16, 64)]
    assert crf_table.ratios(rows) == {
        "joint grid": {"forward": 4, "forward_backward": 16, "graph": None},
        "joint pydensecrf2": {"forward": 4, "forward_backward": None, "graph": None},
    }


def test_the_gpu_alone_is_shown_where_it_was_timed_without_the_host():
    rows = [make_row(n, "grid", 1.0, 1.1) for n in (16, 64)]
    assert [row.shown_ms for row in rows] == [1.0, 1.0]
    rows = [dataclasses.replace(row, graph_ms=row.n / 200) for row in rows]
    assert [row.shown_ms for row in rows] == [0.08, 0.32]
    found = crf_table.ratios(rows)
    assert found["joint grid"]["graph"] == pytest.approx(4)
    assert "as a graph 4.00" in crf_table.ratio_lines(found)[0]
    assert any("CUDA graph" in note for note in crf_vs_n._notes(rows))


def test_what_was_measured_stands_whatever_ends_the_bench(tmp_path, monkeypatch, capsys):
    measured = iter([[make_row(2, "grid", 1.0, None)], KeyboardInterrupt])

    def measure(*_):
        rows = next(measured)
        if rows is KeyboardInterrupt:
            raise KeyboardInterrupt
        return rows

    monkeypatch.setattr(crf_vs_n, "_measure_in_quiet", measure)
    path = tmp_path / "result.json"
    argv = ["--device", "cpu", "--n", "2", "4", "--size", "16", "--terms", "joint"]
    argv += ["--methods", "grid", "--no-plot", "--json", str(path)]
    assert crf_vs_n.main(argv) == 130
    assert [row["n"] for row in json.loads(path.read_text())["rows"]] == [2]


def test_frames_are_spread_over_the_video_and_distinct_while_they_last(tmp_path, write_video):
    video = write_video(tmp_path / "clip.mp4", num_frames=6)
    taken = frames.load_frames(video, 15, 32)
    assert taken.distinct == 6
    assert "beyond n = 6" in taken.about
    pictures = taken.take(15)
    assert pictures.shape == (15, 3, 32, 32)
    assert pictures.dtype == torch.uint8
    assert len(pictures.flatten(1).unique(dim=0)) == 15
    assert torch.equal(taken.take(3), pictures[[1, 3, 5]])
    assert "beyond" not in frames.load_frames(video, 6, 32).about


def test_a_frame_is_cut_to_its_largest_centred_square():
    frame = np.zeros((40, 100, 3), np.uint8)
    frame[:, 30:70] = 200
    assert (frames.square(frame, 20, view=0) == 200).all()
    assert frames.square(frame, 20, view=1).shape == (20, 20, 3)


def test_drawn_frames_say_that_they_are_drawn():
    drawn = frames.load_frames(None, 40, 48)
    assert drawn.take(40).shape == (40, 3, 48, 48)
    assert "not natural" in drawn.about


def test_times_are_of_the_work_alone_and_at_least_three():
    calls = []

    def fresh():
        calls.append("made")
        return lambda: calls.append("done")

    times = timing.time_on_cpu(fresh, seconds=0)
    assert calls == ["made", "done"] * 4  # a warm-up and three
    assert len(times.ms) == 3
    assert times.median == sorted(times.ms)[1]


def test_the_memory_peak_is_that_of_the_work():
    size = 2**26
    peak = timing.peak_memory(lambda: lambda: torch.ones(size // 4).sum(), CPU)
    if peak is None:
        pytest.skip("the resident peak cannot be reset here")
    assert peak == pytest.approx(size / 1e6, rel=0.2)


def test_the_share_of_other_processes_leaves_the_own_one_out(monkeypatch):
    seconds = iter([(100.0, 50.0, 7.0), (120.0, 65.0, 12.0), None])  # all, busy, own
    monkeypatch.setattr(machine, "_cpu_seconds", lambda: next(seconds))
    others = machine.OtherProcesses()
    assert others.percent() == 50
    assert others.percent() is None


def test_processes_that_a_bench_started_are_its_own_once_they_have_ended():
    before = machine._cpu_seconds()
    if before is None:
        pytest.skip("the system does not tell")
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert machine._cpu_seconds()[2] - before[2] >= 0.28


def test_a_disturbed_row_is_named_in_the_notes():
    quiet, disturbed = (make_row(n, "grid", 1.0, None) for n in (2, 4))
    disturbed = dataclasses.replace(disturbed, others_cpu_percent=50.0)
    notes = crf_vs_n._notes([quiet, disturbed])
    assert sum("Do not trust n = 4 joint grid:" in note for note in notes) == 1
    assert not any("n = 2" in note for note in notes)


def test_a_disturbed_row_is_measured_again_and_the_least_disturbed_one_counts(monkeypatch):
    shares = iter([50.0, 20.0, 30.0, 2.0])
    row = make_row(2, "grid", 1.0, None)
    monkeypatch.setattr(
        crf_vs_n,
        "_measure",
        lambda *_: [dataclasses.replace(row, others_cpu_percent=next(shares))],
    )
    waits = []
    monkeypatch.setattr(crf_vs_n, "wait_for_quiet", lambda *given: waits.append(given))

    def measured(wait):
        options = argparse.Namespace(wait=wait, seconds=1.0)
        return crf_vs_n._measure_in_quiet(None, None, CPU, 1.0, options)[0].others_cpu_percent

    assert measured(wait=0) == 50
    assert measured(wait=60) == 2
    assert len(waits) == 2


def test_a_peer_that_is_not_measured_says_why(monkeypatch):
    assert "on a GPU only" in peers.missing("keops", CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert '".[peers]"' in peers.missing("pydensecrf2", CPU)


@pytest.mark.skipif(importlib.util.find_spec("pydensecrf") is None, reason="pydensecrf2 is absent")
@pytest.mark.parametrize("name", ["joint", "spatial"])
def test_pydensecrf2_filters_as_the_published_lattice_does(name):
    ramp = torch.arange(48)
    image = torch.stack([5 * ramp.expand(48, 48), 4 * ramp[:, None].expand(48, 48)])
    image = torch.cat([image, image.sum(0, keepdim=True) // 2]).to(torch.uint8)
    term = make_term(name, torch.stack([image, image.flip(1)]), CPU, torch.float32)
    own = term.by_group(term.filtered("permutohedral-published")).double()
    other = peers.PyDenseCrf(term).filtered()
    # not the same: it blurs the axes in one order, not in both
    assert (other - own).norm() < 0.05 * own.norm()
    assert other.sum() == pytest.approx(own.sum().item(), rel=0.01)


@pytest.mark.skipif(not crf_table.can_plot(), reason="matplotlib is absent")
@pytest.mark.parametrize("log", [False, True])
def test_the_figure_is_a_png(log):
    rows = [make_row(n, "grid", 2.0 * n, None) for n in (1, 2)]
    assert crf_table.draw_figure(rows, "CPU", log).startswith(b"\x89PNG")
