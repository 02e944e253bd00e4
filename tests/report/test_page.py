"""Report page: self-contained, complete and safe for names of any kind."""

import base64
import re
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from jinja2 import nodes

import colocam.report
from colocam.localization.drawing import GREEN, RED
from colocam.report.page import Contents, write_page
from colocam.report.pictures import Example
from colocam.report.templating import environment
from colocam.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

METRICS = [
    {"stage": "classifier", "epoch": 0, "cross-entropy": 1.5, "frames_per_second": 9.0},
    {
        "stage": "classifier", "epoch": 1, "cross-entropy": 1.0, "localization": 30.0,
        "skipped_steps": 0, "frames_per_second": 9.0,
    },
    {
        "stage": "localizer", "epoch": 0, "pl": 0.4, "crf": -0.2, "total": 0.2,
        "localization": 40.0, "seed_cam": 30.0, "skipped_steps": 2, "frames_per_second": 8.0,
    },
    {
        "stage": "localizer", "epoch": 1, "pl": 0.3, "crf": -0.3, "total": 0.0,
        "localization": 50.0, "seed_cam": 30.0, "skipped_steps": 0, "frames_per_second": 8.0,
    },
]  # fmt: skip


def example_of(name="cat/1#3", boxes=((20, 30, 60, 70),)):
    frame = np.full((96, 96, 3), 100, np.uint8)
    y, x = np.mgrid[:96, :96]
    scores = np.exp(-(((x - 40) / 14) ** 2 + ((y - 50) / 14) ** 2)).astype(np.float32)
    return Example(frame, boxes, "cat", scores**4, (30, 40, 50, 60), scores, (20, 30, 60, 66), name)


@pytest.fixture
def contents(summary_of):
    columns = {
        "seed CAM": summary_of([True, False], [False, False], honest=0.2),
        "CoLo-CAM": summary_of([True, True], [True, False], honest=0.4),
    }
    groups = {"best": [example_of()], "median": [], "worst": [example_of("dog/2#0", ())]}
    overlays = [("cat/1", "overlays/cat 1-overlay.mp4")]
    return Contents("A run", columns, {"lr": 0.01, "splits": None}, METRICS, groups, overlays)


@pytest.fixture
def page(contents, read_page, tmp_path):
    write_page(tmp_path / "report" / "index.html", contents)
    return read_page((tmp_path / "report" / "index.html").read_text())


def test_page_is_self_contained(page):
    assert page.addresses.count("overlays/cat%201-overlay.mp4") == 1
    pictures = [address for address in page.addresses if not address.startswith("overlays/")]
    assert len(pictures) == 6
    assert all(address.startswith("data:image/jpeg;base64,") for address in pictures)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe"})
    (style,) = page.of("style")
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_show_the_boxes_on_frame_and_maps(page):
    pictures = []
    for address in page.addresses:
        if address.startswith("data:"):
            data = np.frombuffer(base64.b64decode(address.split(",")[1]), np.uint8)
            pictures.append(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
    assert {picture.shape for picture in pictures} == {(224, 224, 3)}

    def share(picture, color):
        return (np.abs(picture.astype(int) - color).max(axis=2) < 60).mean()

    assert [share(picture, GREEN) > 0.002 for picture in pictures] == [True] + [False] * 5
    assert all(share(picture, RED) > 0.002 for picture in pictures)


def test_numbers_are_next_to_those_of_the_seed_cam(page):
    assert page.of("h1") == ["A run"]
    assert "CoLo-CAM on 4 frames with 4 boxes, from 4 videos." in page.of("p")
    numbers = dict(zip(page.of("dt"), page.of("dd"), strict=False))
    assert numbers["CorLoc, published"] == "75.0 %"
    assert page.of("small")[0] == "seed CAM 25.0"
    cells = page.of("td")
    assert [cells[place : place + 4] for place in range(0, 12, 4)] == [
        ["cat", "2", "50.0", "100.0"],
        ["dog", "2", "0.0", "50.0"],
        ["mean", "4", "25.0", "75.0"],
    ]


def test_every_metric_of_the_log_has_a_chart(page):
    titles = page.of("figcaption")
    for stage, title in (
        (0, "cross-entropy"),
        (0, "CorLoc on validation, %"),
        (1, "partial cross-entropy"),
        (1, "spatial CRF"),
        (1, "total loss"),
        (1, "skipped steps"),
        (1, "frames per second"),
    ):
        assert title in titles, (stage, title)
    assert titles.count("CorLoc on validation, %") == 2
    assert titles.count("skipped steps") == 1  # there were some in stage 2 only
    tips = page.of("title")
    assert "S1: 40" in tips
    assert "seed CAM: 30" in tips
    assert "CoLo-CAM, chosen on validation: 0.4" in tips
    assert "cross-entropy: 1.5" in tips


def test_configuration_is_complete(page):
    options = dict(zip(page.of("dt")[-2:], page.of("dd")[-2:], strict=True))
    assert options == {"lr": "0.01", "splits": "-"}


def test_captions_give_both_overlaps_if_there_are_boxes(page):
    captions = [text for text in page.of("figcaption") if text.startswith("cat ")]
    assert captions == ["cat · IoU 0.26 → ", "cat "]
    assert "0.90" in page.of("span")
    assert {"cat/1#3", "dog/2#0"} <= set(page.of("small"))


@pytest.mark.parametrize(
    "bad",
    [
        '<script>alert("x")</script>&amp;',
        "\" onload='alert(1)' x=\"</title></style><script>",
        "{{ page.title }}{% raw %}\n<!-- \N{LEFT DOUBLE QUOTATION MARK}",
        "caf\udce9<b>",  # a file name that is invalid Unicode
    ],
)
def test_names_are_escaped(bad, summary_of, read_page, tmp_path):
    columns = {bad: summary_of([True, False], [True], names=(bad, "dog", "cow"))}
    examples = {"best": [example_of(bad)]}
    log = [*METRICS, {**METRICS[-1], bad: 1.0}]
    odd = Contents(bad, columns, {bad: bad}, log, examples, [(bad, "a.mp4")])
    write_page(tmp_path / "index.html", odd)
    page = read_page((tmp_path / "index.html").read_text())
    shown = bad.encode(errors="backslashreplace").decode()
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b"})
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.of("h1") == [shown]
    assert shown in page.of("a")
    assert shown in page.of("td")
    assert shown in page.of("figcaption")
    assert {attributes["alt"] for tag, attributes in page.tags if tag == "img"} == {
        f"{picture} of {shown}" for picture in ("frame", "seed CAM", "score map")
    }


def test_autoescape_is_on_in_every_template():
    env = environment()
    assert env.autoescape is True
    assert "page.html.jinja" in env.list_templates()
    for name in env.list_templates():
        assert env.get_template(name).environment is env
        source, _, _ = env.loader.get_source(env, name)
        tree = env.parse(source)
        overrides = (nodes.EvalContextModifier, nodes.ScopedEvalContextModifier, nodes.MarkSafe)
        assert not list(tree.find_all(overrides)), f"{name}: autoescape is overridden"
        assert "safe" not in {one.name for one in tree.find_all(nodes.Filter)}, name


def test_every_template_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    (pattern,) = settings["package-data"]["colocam.report"]
    folder = Path(colocam.report.__file__).parent
    installed = {path.relative_to(folder / "templates").as_posix() for path in folder.glob(pattern)}
    assert installed == set(environment().list_templates())


@pytest.mark.parametrize("boxes", [True, False])
def test_page_of_a_classifier_or_without_boxes_shows_the_numbers_there_are(
    boxes, summary_of, read_page, tmp_path
):
    summary = summary_of([boxes or None, boxes or None])
    write_page(tmp_path / "index.html", Contents("A", {"seed CAM": summary}, {}))
    text = (tmp_path / "index.html").read_text()
    page = read_page(text)
    assert ("CorLoc, published" in page.of("dt")) == boxes
    assert "classification accuracy" in page.of("dt")
    assert bool(re.search("<polyline", text)) == boxes
    assert page.addresses == []


def test_page_that_cannot_be_written_raises_and_leaves_no_file(contents, tmp_path):
    (tmp_path / "report").write_text("a file")
    with pytest.raises(UserError, match="report"):
        write_page(tmp_path / "report" / "index.html", contents)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
