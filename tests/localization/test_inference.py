"""Localization of frames through the Python interface."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import colocam
from colocam.runtime.errors import UserError

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def localizer(tiny_run):
    return colocam.load(tiny_run.checkpoint("localizer-best"), device="cpu")


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8)


def test_localize_returns_one_result_per_frame_of_any_size(localizer):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in ((48, 64), (70, 30))]
    results = localizer.localize(frames)
    assert len(results) == 2
    for frame, result in zip(frames, results, strict=True):
        assert result.class_name in localizer.classes
        assert result.score_map.shape == (64, 64)
        assert 0 <= result.score_map.min() <= result.score_map.max() <= 1
        assert result.emptiness == pytest.approx(1 - result.score_map.max(), abs=1e-6)
        if result.box is not None:
            assert result.box[2] < frame.shape[1]
            assert result.box[3] < frame.shape[0]


def test_result_of_a_frame_does_not_depend_on_the_other_frames(localizer, frames):
    together = localizer.localize(frames)
    alone = [localizer.localize([frame])[0] for frame in frames]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.score_map, other.score_map, atol=2e-2)  # may be bfloat16


def test_arrays_and_tensors_of_the_same_frames_have_equal_results(localizer, frames):
    expected = localizer.localize(list(frames))
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2)
    for inputs in (
        frames,
        tensor,
        tensor.float() / 255,
        (tensor.double() / 255).requires_grad_(),
        list(tensor),
        [frames[0], tensor[1], *(tensor[2:].float() / 255)],
    ):
        found = localizer.localize(inputs)
        np.testing.assert_array_equal(found.maps, expected.maps)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        assert found.classes == expected.classes


def test_batch_size_does_not_change_the_results(localizer, frames, monkeypatch):
    whole, infer, sizes = localizer.localize(frames), localizer.infer, []
    monkeypatch.setattr(
        localizer, "infer", lambda images, _: sizes.append(len(images)) or infer(images)
    )
    parts = localizer.localize(frames, batch_size=2)
    assert sizes == [2, 2, 1]
    np.testing.assert_allclose(parts.maps, whole.maps, atol=2e-2)


def test_arrays_and_sequence_have_the_same_values(localizer, frames, monkeypatch):
    boxed = localizer.locate

    def some_without(likely, score_map, size, **options):
        return boxed(likely, score_map * (score_map[0, 0] != blank), size, **options)

    blank = localizer.infer([frames[1]])[1][0, 0, 0]
    monkeypatch.setattr(localizer, "locate", some_without)
    found = localizer.localize(frames, batch_size=1)
    assert found[1].box is None
    assert found[1].score == 0
    assert np.isnan(found.boxes[1]).all()
    assert found.boxes.shape == (5, 4)
    assert found.maps.shape == (5, 64, 64)
    for i, one in enumerate(found):
        if one.box is not None:
            assert one.box == tuple(found.boxes[i])
            assert all(isinstance(side, int) for side in one.box)
        assert one.score == found.scores[i]
        assert one.class_name == found.classes[i]
        assert one.probability == found.probabilities[i]
        np.testing.assert_array_equal(one.score_map, found.maps[i])
    assert found[-1].box == found[4].box
    assert [one.score for one in found[3:]] == list(found.scores[3:])
    with pytest.raises(IndexError):
        found[5]


@pytest.mark.parametrize("nothing", [[], np.empty((0, 8, 8, 3), np.uint8), torch.empty(0, 3, 8, 8)])
def test_no_frames_give_an_empty_result(localizer, nothing):
    found = localizer.localize(nothing)
    assert len(found) == 0
    assert list(found) == []
    assert found.boxes.shape == (0, 4)
    assert found.maps.shape == (0, 64, 64)


@pytest.mark.parametrize(
    "frames",
    [
        [np.zeros((8, 8, 3), np.float32)],
        [np.zeros((8, 8), np.uint8)],
        [np.zeros((8, 8, 4), np.uint8)],
        [np.zeros((2, 8, 8, 3), np.uint8)],
        [np.zeros((0, 8, 3), np.uint8)],
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 3, 8, 8), np.uint8),
        [torch.zeros(8, 8, 3)],
        [torch.zeros(3, 8, 8, dtype=torch.int64)],
        torch.zeros(3, 8, 8),
        torch.zeros(2, 8, 8, 3),
        torch.full((1, 3, 8, 8), 255.0),
        torch.full((1, 3, 8, 8), torch.nan),
        "cat.mp4",
        [None],
        None,
    ],
    ids=str,
)
def test_invalid_frames_raise(localizer, frames):
    with pytest.raises(ValueError, match=r"^frames: "):
        localizer.localize(frames)


def test_weights_that_are_not_finite_end_in_one_line(tiny_run, frames):
    ckpt = tiny_run.checkpoint("localizer-best")
    localizer = colocam.load(ckpt, device="cpu")
    for parameter in localizer.model.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite") as error:
        localizer.localize(frames)
    assert str(error.value).startswith(f"{ckpt}: ")
    assert "\n" not in str(error.value)


def test_invalid_batch_size_raises(localizer, frames):
    with pytest.raises(ValueError, match=r"^batch_size: "):
        localizer.localize(frames, batch_size=0)


def test_example_of_the_readme_runs(tiny_run, frames, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "colocam.load" in block]
    ckpt = tmp_path / re.search(r"colocam\.load\(\"(.*?)\"", example)[1]
    ckpt.parent.mkdir(parents=True)
    ckpt.symlink_to(tiny_run.checkpoint("localizer-best"))
    monkeypatch.chdir(tmp_path)
    exec(example, {"frames": list(frames)})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(frames)
    for line in printed:
        assert line.split()[0] in colocam.load(ckpt).classes


def test_all_boxes_are_returned_with_the_present_fields_unchanged(localizer, frames):
    one = localizer.localize(frames)
    every = localizer.localize(frames, boxes="all", min_area=0)
    np.testing.assert_array_equal(one.boxes, every.boxes)
    np.testing.assert_array_equal(one.scores, every.scores)
    assert max(map(len, every.all_boxes)) > 1
    for results in (one, every):
        for result, boxes, scores in zip(
            results, results.all_boxes, results.all_scores, strict=True
        ):
            assert result.all_boxes == boxes
            assert result.all_scores == scores
            assert len(boxes) == len(scores)
            assert (boxes[0] if boxes else None) == result.box
    assert all(len(boxes) <= 1 for boxes in one.all_boxes)
    assert every[1:3].all_boxes == every.all_boxes[1:3]
    few = localizer.localize(frames, boxes="all", min_area=0.99)
    assert few.all_boxes == one.all_boxes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"boxes": "every"}, "boxes: must be one of"),
        ({"boxes": "all", "min_area": 1}, "min_area: must be in"),
        ({"min_area": -1}, "min_area: must be in"),
    ],
)
def test_unknown_boxes_and_areas_out_of_range_are_errors(localizer, frames, wrong, message):
    with pytest.raises(ValueError, match=message):
        localizer.localize(frames, **wrong)
