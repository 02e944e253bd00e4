"""Predictions of an evaluation: JSON records, COCO files, several processes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from colocam.cli.evaluate import main as evaluate
from colocam.data.decoding.images import ImageFrames
from colocam.data.layouts.builtin import write_clip_set
from colocam.data.layouts.open import open_data
from colocam.data.loading.frame_batches import FrameBatch, frame_batches
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import iou
from colocam.evaluation.coco import ground_truth, ground_truth_path, results
from colocam.evaluation.evaluate import Outputs
from colocam.evaluation.predictions import Predictions, locate, probabilities
from colocam.localization.inference import VideoLocalizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.runtime.distribution import Ranks

EVALUATE = Path(__file__).resolve().parents[2] / "evaluate.py"
KEYS = ["video", "frame", "class", "probability", "box", "score"]
# As published: https://cocodataset.org/#format-data and #format-results, object detection.
COCO = {
    "images": {"id", "width", "height", "file_name"},
    "annotations": {"id", "image_id", "category_id", "area", "bbox", "iscrowd"},
    "categories": {"id", "name"},
}
COCO_RESULT = {"image_id", "category_id", "bbox", "score"}

INFO = CheckpointInfo("localizer", "resnet18", ("cat", "dog"), 8, "layercam", 0, {}, threshold=0.3)


def record(name, label=0, boxes=((2.0, 3.0, 11.0, 9.0),), size_of=None):
    return BoxedFrame(name, label, name.rsplit("/", 1)[0], ImageFrames((name,), name), 0, boxes)


def collected(records, info=INFO, size=(80, 40)):
    """Predictions on maps of 8×8 pixels: a block at x 2…5, y 1…3 (its box is one pixel larger)."""
    predictions = Predictions(records, info)
    scores = np.zeros((len(records), 8, 8), np.float32)
    scores[:, 1:4, 2:6] = 1.0
    logits = np.tile(np.log(np.array([[1.0, 3.0]])), (len(records), 1))
    batch = FrameBatch(np.empty(0), tuple(records), (size,) * len(records), ())
    predictions.collect(batch, Outputs(logits, None, scores))
    return predictions


@pytest.fixture(scope="module")
def many(tiny_run, tmp_path_factory):
    """Data folder with more frames than a batch, one of which cannot be decoded."""
    clips = replace(tiny_run.clip_set, videos=(2, 1, 4), boxed=3)
    data = write_clip_set(tmp_path_factory.mktemp("many") / "clips", clips)
    frames = (data / "splits" / "test" / "image_ids.txt").read_text().split()
    assert len(frames) > 32
    (data / frames[5]).write_bytes(b"no image")
    return data


@pytest.fixture(scope="module")
def arguments(tiny_run, many):
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    return ["--ckpt", ckpt, "--data", str(many), "--device", "cpu", "--amp", "off"]


@pytest.fixture(scope="module")
def written(arguments, tmp_path_factory):
    """Folder with the files written by evaluate.py."""
    out = tmp_path_factory.mktemp("written")
    files = ["--predictions", str(out / "p.json"), "--coco", str(out / "coco.json")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    status = evaluate([*arguments, *files, "--json", str(out / "numbers.json")])
    torch.set_num_threads(threads)
    assert status == 0
    return out


def read(path):
    return json.loads(path.read_text())


def test_every_decodable_frame_has_one_record_in_the_order_of_the_data(written, many):
    records = read(written / "p.json")
    assert all(list(record) == KEYS for record in records)
    names = (many / "splits" / "test" / "image_ids.txt").read_text().split()
    del names[5]
    assert [f"{record['video']}/{record['frame']}" for record in records] == names
    assert (written / "p.json").read_text().count("\n") == len(records) + 2  # one line each


def test_records_equal_the_results_of_localize(written, tiny_run, many):
    localizer = VideoLocalizer(tiny_run.checkpoint("localizer-best"), "cpu", "off")
    test = [one for one in open_data(many).test if one.frames.read([0])[0] is not None]
    found = localizer.localize([one.frames.read([0])[0] for one in test])
    for one, entry in zip(found, read(written / "p.json"), strict=True):
        assert entry["class"] == one.class_name
        assert entry["box"] == (None if one.box is None else list(one.box))
        assert entry["probability"] == pytest.approx(one.probability, abs=1e-4)
        assert entry["score"] == pytest.approx(one.score, abs=1e-4)


def test_frame_of_a_video_file_is_its_index(tmp_path):
    frames = ImageFrames(("a.jpg",) * 9, "cat/a")
    one = BoxedFrame("cat/a#7", 0, "cat/a", frames, 7, ())
    assert collected([one]).as_records()[0]["frame"] == 7


def test_box_is_scaled_to_the_pixels_of_the_frame():
    (entry,) = collected([record("cat/v/1.jpg")]).as_records()
    # x 2…6 and y 1…4 of 8 pixels, in a frame of 80×40.
    assert entry["box"] == [20.0, 5.0, 69.0, 24.0]
    assert (entry["class"], entry["probability"]) == ("dog", 0.75)
    assert entry["score"] == pytest.approx(12 / 20, abs=1e-4)  # 4×3 of 5×4 pixels are 1


@pytest.mark.parametrize(("threshold", "right"), [(0.3, 6), (None, 3), (0.8, 3)])
def test_box_uses_the_threshold_of_validation_or_one_half(threshold, right):
    scores = np.zeros((8, 8), np.float32)
    scores[1:4, 1:6], scores[1:4, 1:3] = 0.4, 1.0
    predictions = Predictions([record("cat/v/1.jpg")], replace(INFO, threshold=threshold))
    batch = FrameBatch(np.empty(0), predictions.records, ((8, 8),), ())
    predictions.collect(batch, Outputs(np.zeros((1, 2)), None, scores[None]))
    assert predictions.kept[0].box[2] == right


def test_map_without_a_contour_has_no_box():
    for min_area in (None, 0.0, 0.5):
        assert locate(np.zeros((8, 8), np.float32), 0.5, (80, 40), min_area) == ((), ())


def test_probabilities_are_a_softmax_without_overflow():
    found = probabilities([[1000.0, 1000.0 + np.log(3)], [0.0, 0.0]])
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5]])


def test_all_boxes_follow_the_largest_which_is_the_box_without_them():
    rng, most = np.random.default_rng(0), 0
    for _ in range(50):
        scores = rng.random((6, 9), np.float32) ** 4
        one, all_of_them = (locate(scores, 0.3, (90, 60), area) for area in (None, 0.0))
        assert len(one[0]) <= 1
        assert all_of_them[0][:1] == one[0]
        assert all_of_them[1][:1] == one[1]
        assert len(all_of_them[0]) == len(all_of_them[1])
        most = max(most, len(all_of_them[0]))
    assert most > 2


def test_records_and_coco_results_have_all_boxes_if_requested():
    scores = np.zeros((1, 8, 8), np.float32)
    scores[0, 1:5, 1:5], scores[0, 6:8, 6:8] = 1.0, 0.5
    for area, expected in ((None, 1), (0.0, 2), (0.1, 1)):
        predictions = Predictions([record("cat/v/1.jpg")], INFO, area)
        batch = FrameBatch(np.empty(0), predictions.records, ((80, 40),), ())
        predictions.collect(batch, Outputs(np.zeros((1, 2)), None, scores))
        found = results(predictions)
        assert [one["bbox"] for one in found] == [[10, 5, 50, 25], [60, 30, 20, 10]][:expected]
        assert [one["score"] for one in found] == [round(16 / 25, 4), 0.5][:expected]
        (entry,) = predictions.as_records()
        assert entry["box"] == [10.0, 5.0, 59.0, 29.0]
        if area is None:
            assert list(entry) == KEYS
            continue
        assert list(entry) == [*KEYS, "all_boxes", "all_scores"]
        assert entry["all_boxes"][0] == entry["box"]
        assert entry["all_scores"][0] == entry["score"]
        assert len(entry["all_boxes"]) == len(entry["all_scores"]) == expected


# ---- COCO


def test_coco_files_have_the_published_keys(written):
    truth, found = read(written / "coco.gt.json"), read(written / "coco.json")
    assert set(truth) == {"info", "licenses", *COCO}
    for name, keys in COCO.items():
        assert truth[name]
        assert all(set(entry) == keys for entry in truth[name])
        ids = [entry["id"] for entry in truth[name]]
        assert len(set(ids)) == len(ids)
        assert all(isinstance(number, int) and number > 0 for number in ids)
    images, categories = ({e["id"] for e in truth[n]} for n in ("images", "categories"))
    for entry in [*truth["annotations"], *found]:
        assert entry["image_id"] in images
        assert entry["category_id"] in categories
        x, y, width, height = entry["bbox"]
        assert min(x, y) >= 0
        assert min(width, height) >= 1
    assert isinstance(found, list)
    assert all(set(entry) == COCO_RESULT for entry in found)
    assert len({entry["image_id"] for entry in found}) == len(found)  # at most one box per frame


def test_coco_files_agree_with_records_and_data(written, many):
    truth, found = read(written / "coco.gt.json"), read(written / "coco.json")
    records = read(written / "p.json")
    names = {category["id"]: category["name"] for category in truth["categories"]}
    files = {image["id"]: image["file_name"] for image in truth["images"]}
    boxed = [record for record in records if record["box"]]
    for entry, record in zip(found, boxed, strict=True):
        assert names[entry["category_id"]] == record["class"]
        assert files[entry["image_id"]] == f"{record['video']}/{record['frame']}"
        assert entry["score"] == record["score"]
        x, y, width, height = entry["bbox"]
        assert [x, y, x + width - 1, y + height - 1] == record["box"]
    data = open_data(many)
    wanted = {one.id: one for one in data.test if one.id in files.values()}
    assert len(wanted) == len(files)
    assert len(truth["annotations"]) == sum(len(one.boxes) for one in wanted.values())
    for entry in truth["annotations"]:
        one = wanted[files[entry["image_id"]]]
        assert names[entry["category_id"]] == data.classes[one.label]
        assert entry["area"] == entry["bbox"][2] * entry["bbox"][3]
        assert (entry["bbox"][0], entry["bbox"][1]) in [box[:2] for box in one.boxes]
    assert {(image["width"], image["height"]) for image in truth["images"]} == {(72, 54)}


def test_honest_corloc_can_be_computed_from_the_coco_files(written):
    """An independent reader of the two files computes the number of the evaluation."""
    truth, found = read(written / "coco.gt.json"), read(written / "coco.json")
    boxes = {entry["image_id"]: corners(entry["bbox"]) for entry in found}
    shares = {}
    for image in truth["images"]:
        own = [one for one in truth["annotations"] if one["image_id"] == image["id"]]
        correct = (
            image["id"] in boxes
            and iou([boxes[image["id"]]], [corners(one["bbox"]) for one in own]).max() >= 0.5
        )
        shares.setdefault(own[0]["category_id"], []).append(correct)
    mean = 100 * np.mean([np.mean(of_class) for of_class in shares.values()])
    # The evaluation compares boxes at the model's input size, with other rounding.
    assert mean == pytest.approx(read(written / "numbers.json")["corloc_honest"]["0.5"], abs=7)


def corners(bbox):
    x, y, width, height = bbox
    return x, y, x + width - 1, y + height - 1


def test_ground_truth_boxes_are_clipped_to_the_image_and_keep_a_pixel():
    boxes = ((-3.0, 5.0, 80.0, 39.0), (80.0, 2.0, 80.0, 40.0))
    truth = ground_truth(collected([record("cat/v/1.jpg", boxes=boxes)]))
    assert [one["bbox"] for one in truth["annotations"]] == [[0, 5, 80, 35], [79, 2, 1, 38]]


def test_frame_without_a_predicted_box_is_an_image_without_a_result():
    predictions = Predictions([record("cat/v/1.jpg"), record("cat/v/2.jpg", boxes=())], INFO)
    batch = FrameBatch(np.empty(0), predictions.records, ((80, 40),) * 2, ())
    predictions.collect(batch, Outputs(np.zeros((2, 2)), None, np.zeros((2, 8, 8), np.float32)))
    assert results(predictions) == []
    assert [entry["box"] for entry in predictions.as_records()] == [None, None]
    truth = ground_truth(predictions)
    assert [image["id"] for image in truth["images"]] == [1, 2]
    assert [one["image_id"] for one in truth["annotations"]] == [1]


def test_ground_truth_path_is_next_to_the_results(tmp_path):
    assert ground_truth_path(tmp_path / "a.json") == tmp_path / "a.gt.json"
    assert ground_truth_path(tmp_path / "a") == tmp_path / "a.gt.json"


# ---- several processes


class OneOfTwo(Ranks):
    """Ranks of two processes whose second part is already present."""

    def gather(self, value):
        return [value, self.other]


def test_predictions_of_several_processes_are_in_the_order_of_the_records():
    records = [record(f"cat/v/{number}.jpg") for number in range(7)]
    whole, *parts = (Predictions(records, INFO) for _ in range(3))
    for rank, part in enumerate(parts):
        part.kept = collected(records).kept[rank::2]
    whole.kept = collected(records).kept
    ranks = OneOfTwo(0, 2)
    object.__setattr__(ranks, "other", parts[1].kept)
    parts[0].share(ranks)
    assert parts[0].kept == whole.kept
    assert parts[0].as_records() == whole.as_records()


def test_two_processes_write_the_same_files_as_one(arguments, written, tmp_path):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        str(EVALUATE), *arguments,
        *("--predictions", str(tmp_path / "p.json"), "--coco", str(tmp_path / "coco.json")),
        *("--json", str(tmp_path / "numbers.json")),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in written.iterdir())
    for name in names:
        assert (tmp_path / name).read_text() == (written / name).read_text(), name


# ---- invalid options


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--predictions", "a.json", "--json", "a.json"], "a.json is written by another option"),
        (["--coco", "a.json", "--predictions", "a.gt.json"], "is written by another option"),
        (["--split", "train", "--save-maps", "m", "--coco", "a.json"], "nothing for --coco"),
    ],
)
def test_conflicting_options_are_named(arguments, options, complaint, capsys):
    assert evaluate([*arguments, *options]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_predictions_of_a_classifier_are_an_error(tiny_run, arguments, tmp_path, capsys):
    ckpt = str(tiny_run.checkpoint("classifier-best-localization"))
    argv = ["--ckpt", ckpt, *arguments[2:], "--predictions", str(tmp_path / "p.json")]
    assert evaluate(argv) == 2
    assert "holds a classifier, a localizer is needed" in capsys.readouterr().err


def test_batches_contain_the_records_of_the_list(many):
    """`collect` requires unique ids, and batches of records of the list."""
    test = open_data(many).test
    assert len({one.id for one in test}) == len(test)
    batches = list(frame_batches(test, 16, 8))
    assert sum(len(batch.records) for batch in batches) == len(test) - 1
