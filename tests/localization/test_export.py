"""Export: one file gives the boxes of colocam without it; errors are one line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from colocam.cli.export import main
from colocam.data.decoding.resizing import resized
from colocam.evaluation.boxes import threshold_or_default
from colocam.localization.exported import ResizedFrames
from colocam.localization.inference import VideoLocalizer
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


@pytest.mark.parametrize("height", [32, 60, 223])
@pytest.mark.parametrize("width", [32, 45, 400])
def test_frames_are_resized_as_by_the_data_loader(height, width):
    rng = np.random.default_rng(height + width)
    frames = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    got = ResizedFrames(48)(torch.from_numpy(frames)).permute(0, 2, 3, 1).numpy()
    expected = np.stack([resized(frame, 48) for frame in frames]).astype(np.float32)
    shrinks = min(height, width) >= 48
    assert np.abs(got - expected).max() <= (1 if shrinks else 2)
    assert (got != expected).mean() < (0.03 if shrinks else 0.2)  # ties are rounded either way


def test_frames_of_the_right_size_stay_as_they_are():
    frames = torch.randint(0, 256, (1, 48, 48, 3), dtype=torch.uint8)
    assert torch.equal(ResizedFrames(48)(frames)[0].permute(1, 2, 0), frames[0].float())


def code_of(page, kind):
    """The page's code for a format, and the code for both."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == 3
    return blocks[0 if kind == "pt2" else 1] + blocks[2]


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_the_code_of_the_page_gives_the_boxes_of_colocam(tiny_run, shared, tmp_path, kind):
    if kind == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
        pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    ckpt = tiny_run.checkpoint("localizer-best")
    assert main(["--ckpt", str(ckpt), "--out", str(tmp_path / f"localizer.{kind}")]) == 0
    video = cv2.VideoCapture(str(shared / "clips" / "dog" / "street.mp4"))
    frames = [video.read()[1] for _ in range(4)]
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), frame)
    code = code_of(PAGE, kind).replace('"street.mp4"', '"frame%d.png"')
    run = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['colocam'] = None\n" + code],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == len(frames)
    images = [
        cv2.imread(str(tmp_path / f"frame{k}.png"))[..., ::-1].copy() for k in range(len(frames))
    ]
    expected = VideoLocalizer(ckpt, "cpu", "off").localize(images)
    for line, own in zip(lines, expected, strict=True):
        assert line.startswith(own.class_name)
        numbers = [int(number) for number in re.findall(r"-?\d+", line.partition("(")[2])]
        pixel = max(frames[0].shape) / own.score_map.shape[0]  # of the map, in the frame
        assert own.box is not None
        np.testing.assert_allclose(numbers, own.box, atol=pixel + 1)


def test_batch_and_size_are_dynamic_and_the_file_names_the_classes(tiny_run, tmp_path):
    ckpt, out = tiny_run.checkpoint("localizer-best"), tmp_path / "a.pt2"
    assert main(["--ckpt", str(ckpt), "--out", str(out)]) == 0
    extra = {"colocam.json": ""}
    model = torch.export.load(out, extra_files=extra).module()
    info = json.loads(extra["colocam.json"])
    own = VideoLocalizer(ckpt, "cpu", "off")
    assert info["classes"] == list(own.classes)
    assert info["size"] == own.info.size
    assert info["threshold"] == threshold_or_default(own.info.threshold)
    for count, height, width, close in (
        (1, 130, 90, 0.01), (3, 100, 100, 0.01), (4, 33, 200, 0.03), (2, 1, 1, 0.03)
    ):  # fmt: skip
        rng = np.random.default_rng(count)
        noise = rng.integers(0, 256, (height, width, 3 * count), np.uint8)
        frames = np.stack(np.split(cv2.blur(noise, (5, 5)), count, 2))
        maps, probabilities = model(torch.from_numpy(frames))
        likely, expected = own.infer(list(frames))
        np.testing.assert_allclose(maps.numpy(), expected, atol=close)
        np.testing.assert_allclose(probabilities.numpy(), likely, atol=0.01)


def test_errors_are_one_line_and_nothing_is_overwritten(tiny_run, tmp_path, capsys, monkeypatch):
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    out = tmp_path / "a.pt2"
    out.write_text("mine")

    def refused(*argv):
        assert main([str(part) for part in argv]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message.removeprefix("error: ")

    assert refused("--ckpt", ckpt, "--out", out) == (
        f"{out}: exists; give another --out, or --overwrite\n"
    )
    assert out.read_text() == "mine"
    assert "must end with .pt2 or .onnx" in refused("--ckpt", ckpt, "--out", tmp_path / "a.pth")
    assert "as --format says" in refused(
        "--ckpt", ckpt, "--out", tmp_path / "b.pt2", "--format", "onnx"
    )
    assert "no such file" in refused("--ckpt", tmp_path / "no", "--out", tmp_path / "b.pt2")
    classifier = tiny_run.checkpoint("classifier-best-localization")
    assert str(classifier) in refused("--ckpt", classifier, "--out", tmp_path / "b.pt2")
    (tmp_path / "file").write_text("")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert 'pip install "colocam[onnx]"' in refused(
        "--ckpt", ckpt, "--out", tmp_path / "b.onnx", "--format", "onnx"
    )
    assert "file" in refused("--ckpt", ckpt, "--out", tmp_path / "file" / "b.pt2")
    assert not (tmp_path / "b.pt2").exists()


def test_an_encoder_that_cannot_be_exported_is_named(tmp_path, capsys, monkeypatch):
    info = CheckpointInfo("localizer", "resnet18", ("cat", "dog"), 64, "cam", 0, {})
    save_checkpoint(tmp_path / "l.safetensors", Localizer("resnet18", 2), info)

    def data_dependent(self, features):
        return features[-1].mean((2, 3)) * int(features[-1].max())

    monkeypatch.setattr(Localizer, "classify", data_dependent)
    out = tmp_path / "l.pt2"
    assert main(["--ckpt", str(tmp_path / "l.safetensors"), "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "the encoder resnet18 cannot be exported to pt2" in message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["l.safetensors"]
