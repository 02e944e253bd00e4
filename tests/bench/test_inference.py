"""bench/inference.py on tiny frames: all rows are written and valid; user errors are one line."""

import dataclasses
import json
import math

import pytest
import torch

from lib.inference import table as inference_table
from lib.inference.passes import Passes

import inference
from colocam.cam import ActivationMap, normalized_map
from colocam.models import Localizer
from colocam.runtime.device import make_autocast

CAMS = ("cam", "gradcam", "gradcam++", "smoothgradcam++", "xgradcam", "layercam")
TINY = ["--device", "cpu", "--encoder", "resnet18", "--size", "32", "--seconds", "0.001"]
CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("small_rates")


@pytest.fixture(scope="module")
def written(tmp_path_factory, write_video, small_rates):
    """Result file of a run on the CPU."""
    folder = tmp_path_factory.mktemp("inference")
    video = write_video(folder / "tiny.mp4", num_frames=4)
    path = folder / "out" / "result.json"
    arguments = ["--batch-sizes", "3", "--video", str(video), "--amp", "off"]
    assert inference.main([*TINY, *arguments, "--json", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def result(written) -> dict:
    return json.loads(written.read_text())


def test_localizer_and_all_six_cams_are_measured_at_every_batch_size(result):
    assert [(row["batch_size"], row["method"]) for row in result["rows"]] == [
        (batch_size, method) for batch_size in (1, 3) for method in ("localizer", *CAMS)
    ]
    for row in result["rows"]:
        for name in ("ms", "p95_ms", "frames_per_s", "gflops", "floor_ms", "floor_percent"):
            assert math.isfinite(row[name])
            assert row[name] > 0, name
        assert row["repeats"] >= 3
        assert row["p95_ms"] >= row["ms"]
        assert row["wait_ms"] is None  # measured on a GPU only
        assert row["graph_ms"] is None


def test_throughput_floor_and_share_are_computed_from_the_time(result):
    rate = max(result["flops_per_s"].values())
    for row in result["rows"]:
        seconds = row["ms"] / 1e3
        assert row["frames_per_s"] == pytest.approx(row["batch_size"] / seconds)
        assert row["floor_ms"] == pytest.approx(1e3 * row["gflops"] * 1e9 / rate)
        assert row["floor_percent"] == pytest.approx(100 * row["floor_ms"] / row["ms"])


def test_result_states_the_setting(result):
    expected = {
        "device": "cpu",
        "encoder": "resnet18",
        "weights": "random",
        "size": 32,
        "dtype": "float32",
        "memory_format": "channels_last",
        "compiled": False,
        "seconds": 0.001,
    }
    assert {name: result[name] for name in expected} == expected
    assert set(result["flops_per_s"]) == {"matmul", "convolution"}
    assert result["machine"]["torch"] == torch.__version__
    assert {"cpu", "gpu", "commit", "threads"} <= set(result["machine"])
    assert "tiny.mp4" in result["frames"]


def test_summary_has_latency_of_one_frame_and_best_throughput(result):
    assert [summary["method"] for summary in result["summary"]] == ["localizer", *CAMS]
    for summary in result["summary"]:
        rows = {
            row["batch_size"]: row for row in result["rows"] if row["method"] == summary["method"]
        }
        best = max(rows.values(), key=lambda row: row["frames_per_s"])
        for name in ("ms", "p95_ms", "gflops", "floor_ms", "floor_percent"):
            assert summary[name] == rows[1][name]
        for name in ("frames_per_s", "batch_size", "peak_mb"):
            assert summary[name] == best[name]
        assert summary["best_floor_percent"] == best["floor_percent"]
        assert summary["published_ms"] is None  # of another encoder and size


def test_table_has_one_line_per_method(written, read_table):
    cells = read_table(written)
    assert {len(row) for row in cells} == {len(inference_table.HEADS)}
    assert [row[0] for row in cells[1:]] == ["localizer", *CAMS]


def test_operations_are_those_of_convolutions_and_head(result):
    """Counted by hooks: kernel × input channels × positions × output channels."""
    with torch.device("meta"):
        model, frame = Localizer("resnet18", inference.CLASSES).eval(), torch.empty(1, 3, 32, 32)
    macs = {"encoder": [], "decoder": [], "to_maps": []}
    for part, counts in macs.items():
        for module in getattr(model, part).modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(
                    lambda layer, _, output, counts=counts: counts.append(
                        layer.weight[0].numel() * output.numel()
                    )
                )
    model(frame)
    classifier = sum(macs["encoder"]) + model.head.weight.numel()
    localizer = classifier + sum(macs["decoder"]) + sum(macs["to_maps"])
    found = {(row["method"], row["batch_size"]): row["gflops"] for row in result["rows"]}
    for batch_size in (1, 3):
        expected = 2e-9 * batch_size * localizer
        assert found["localizer", batch_size] == pytest.approx(expected, rel=1e-9)
        for cam in CAMS:  # a CAM also weights the last feature map
            assert found[cam, batch_size] == pytest.approx(2e-9 * batch_size * classifier, rel=1e-3)


@pytest.fixture(scope="module")
def model() -> Localizer:
    torch.manual_seed(0)
    return Localizer("resnet18", 3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 40, 40), generator=generator, dtype=torch.uint8)


def test_pass_of_the_localizer_returns_logits_and_foreground_of_the_softmax(model, images):
    passes = Passes(model, 40, make_autocast("off", CPU), compiled=False)
    logits, scores = passes("localizer", images)
    expected_logits, maps = model(model.encoder.normalized(images))
    background, foreground = maps.exp().unbind(1)
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(scores, foreground / (background + foreground))


@pytest.mark.parametrize("method", CAMS)
def test_pass_of_a_cam_returns_the_normalized_map_of_the_most_probable_class(model, images, method):
    passes = Passes(model, 40, make_autocast("off", CPU), compiled=False)
    logits, maps = passes(method, images)
    cam = ActivationMap(model, method)(model.encoder.normalized(images), logits.argmax(1))
    assert maps.shape == (2, 40, 40)
    assert maps.amax() == 1
    torch.testing.assert_close(maps, normalized_map(cam, (40, 40)))


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_pass_computes_in_the_given_dtype(model, images, amp):
    passes = Passes(model, 40, make_autocast(amp, CPU), compiled=False)
    logits, scores = passes("localizer", images)
    assert logits.dtype == (torch.bfloat16 if amp == "bf16" else torch.float32)
    assert scores.dtype == torch.float32


def test_encoder_and_decoder_are_compiled_for_each_batch_size(monkeypatch, tmp_path):
    compiled = []

    def keep(module, dynamic):
        assert not dynamic
        compiled.append(type(module).__name__)
        return module

    monkeypatch.setattr(torch, "compile", keep)
    path = tmp_path / "result.json"
    arguments = ["--compile", "on", "--batch-sizes", "2", "--methods", "localizer"]
    assert inference.main([*TINY, *arguments, "--json", str(path)]) == 0
    assert compiled == ["Encode", "Score"] * 2
    assert json.loads(path.read_text())["compiled"] is True


def test_compile_error_is_one_line(monkeypatch, tmp_path, error_of):
    def fail(*_, **__):
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\nand much more")

    monkeypatch.setattr(torch, "compile", lambda module, dynamic: fail)
    path = tmp_path / "result.json"
    argv = [*TINY, "--compile", "on", "--json", str(path)]
    line = error_of(inference.main, argv, warned=True)  # the origin of the frames
    assert line.startswith("error: --compile: ")
    assert "no C++ compiler" in line
    assert not path.exists()


def test_batch_that_does_not_fit_into_memory_is_skipped_with_a_warning(
    monkeypatch, tmp_path, capsys
):
    measure = inference._measure

    def scarce(setting, passes, method, batch_size):
        if batch_size == 2:
            raise torch.OutOfMemoryError
        return measure(setting, passes, method, batch_size)

    monkeypatch.setattr(inference, "_measure", scarce)
    path = tmp_path / "result.json"
    arguments = ["--batch-sizes", "1", "2", "--methods", "layercam", "--json", str(path)]
    assert inference.main([*TINY, *arguments]) == 0
    assert "layercam, batch size 2: skipped" in capsys.readouterr().err
    assert [row["batch_size"] for row in json.loads(path.read_text())["rows"]] == [1]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--batch-sizes", "0", "4"], "--batch-sizes 0: must be at least 1"),
        (["--batch-sizes", "two"], "--batch-sizes: invalid int value: 'two'"),
        (["--size", "8"], "--size 8: must be at least 32"),
        (["--seconds", "0"], "--seconds 0: must be above 0"),
        (["--methods", "abacus"], "--methods: invalid choice: 'abacus'"),
        (["--encoder", "resnet34"], "--encoder: unknown 'resnet34'"),
        (["--amp", "fp8"], "--amp: invalid choice: 'fp8'"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file or folder"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, what, tmp_path, error_of):
    path = tmp_path / "out" / "result.json"
    assert what in error_of(inference.main, [*TINY, "--json", str(path), *arguments])
    assert not path.parent.exists()


def test_unwritable_result_file_is_an_error_before_measuring(check_unwritable_result):
    check_unwritable_result(inference.main, TINY)


def make_row(method, batch_size, ms):
    """A row whose floor is half its time."""
    blank = dict.fromkeys(field for field in inference_table.Row.__dataclass_fields__)
    given = {"method": method, "batch_size": batch_size, "ms": ms, "p95_ms": ms, "gflops": 1.0}
    given |= {"frames_per_s": 1e3 * batch_size / ms, "floor_ms": ms / 2, "floor_percent": 50.0}
    return inference_table.Row(**{**blank, **given})


def test_published_numbers_are_given_for_their_case_only():
    rows = [make_row(method, 1, 5.0) for method in ("localizer", "layercam", "cam")]
    published = [
        (summary.published_ms, summary.published_frames_per_s)
        for summary in inference_table.summarize(rows, "resnet50", 224)
    ]
    assert published == [(10.11, 464), (19.99, 128), (None, None)]
    for case in (("resnet18", 224), ("resnet50", 112)):
        found = inference_table.summarize(rows, *case)
        assert all(summary.published_ms is None for summary in found)
        assert not any("Published" in note for note in inference_table.notes(rows, found))
    notes = inference_table.notes(rows, inference_table.summarize(rows, "resnet50", 224))
    assert sum("Published: CoLo-CAM paper" in note for note in notes) == 1


def test_best_throughput_may_be_at_a_smaller_batch_size():
    rows = [make_row("cam", 1, 4.0), make_row("cam", 4, 8.0), make_row("cam", 16, 64.0)]
    (summary,) = inference_table.summarize(rows, "resnet18", 64)
    assert (summary.frames_per_s, summary.batch_size) == (500, 4)


def test_disturbed_row_is_named_in_the_notes():
    rows = [make_row("cam", 1, 4.0), make_row("cam", 4, 8.0)]
    rows[1] = dataclasses.replace(rows[1], others_cpu_percent=50.0)
    notes = inference_table.notes(rows, [])
    assert sum("Invalid rows: cam at batch size 4:" in note for note in notes) == 1
    assert not any("cam at batch size 1" in note for note in notes)


def test_percentile_is_interpolated():
    assert inference_table.percentile_95([3.0, 3.0, 3.0]) == 3
    assert inference_table.percentile_95(range(101)) == pytest.approx(95)


def test_rows_are_written_as_they_are_measured(monkeypatch, tmp_path):
    measure, path, seen = inference._measure, tmp_path / "result.json", []

    def look(*arguments):
        seen.append(len(json.loads(path.read_text())["rows"]) if path.exists() else 0)
        return measure(*arguments)

    monkeypatch.setattr(inference, "_measure", look)
    arguments = ["--batch-sizes", "1", "2", "--methods", "localizer", "cam", "--json", str(path)]
    assert inference.main([*TINY, *arguments]) == 0
    assert seen == [0, 1, 2, 3]


def test_frame_that_does_not_fit_into_memory_is_one_line(monkeypatch, tmp_path, error_of):
    def fail(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(inference, "_measure", fail)
    path = tmp_path / "result.json"
    error = error_of(inference.main, [*TINY, "--json", str(path)], warned=True)
    assert "--methods: one frame does not fit into memory" in error
    assert not path.exists()
