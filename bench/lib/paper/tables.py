"""Tables and figures of the papers: rows, options of their training runs, published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from colocam.cam import Method

Options = Mapping[str, object]
"""Options of train.py by name on the command line, without dashes."""

Published = tuple[float | None, float | None]
"""CorLoc in % on YouTube-Objects v1 and v2.2; None where not published."""


@dataclass(frozen=True)
class Row:
    """One row of a table or one point of a figure.

    Attributes:
        name: as in the papers.
        options: of stage 2; None: no stage 2, the activation map of the classifier is evaluated.
        cam: method of that map.
        classifier: options of stage 1.
        excluded_shots: number of training shots per class excluded from stage 2, drawn by seed.
        epochs_factor: multiplies epochs and learning rate decay interval of the preset; the final z
            of the size barrier, which grows per epoch, is higher.
        taught: whether the seeds of stage 2 are of maps of boxes: those that the trial of the same
            row without this finds in the training videos (self-training).
        published: in the papers.
        series, x: line and position in a figure.
    """

    name: str
    options: Options | None = field(default_factory=dict)
    cam: Method = "layercam"
    classifier: Options = field(default_factory=dict)
    excluded_shots: int = 0
    epochs_factor: int = 1
    taught: bool = False
    published: Published = (None, None)
    series: str = ""
    x: float = 0.0


@dataclass(frozen=True)
class Table:
    """A table or figure.

    Attributes:
        title: content, and number in the papers.
        rows: of the table, or points of the figure.
        x_label: of a figure; None: a table.
        expected: statement of the papers, one sentence; empty if they have none.
    """

    title: str
    rows: Sequence[Row]
    x_label: str | None = None
    expected: str = ""


@dataclass(frozen=True)
class Budget:
    """Number of trials of a table.

    Attributes:
        seeds: of each row.
        frames: values of n.
        weights: values of λ_c.
        draws: seeds of Table 7, each of which excludes other shots.
    """

    seeds: Sequence[int]
    frames: Sequence[int]
    weights: Sequence[float]
    draws: Sequence[int]


BUDGETS = {
    # On two cores, after stage 1: about 20 minutes per table.
    "small": Budget((0, 1), (2, 4, 8), (1, 3, 5, 9, 16), (0, 1)),
    "medium": Budget((0, 1, 2), (2, 4, 8, 18), (1, 3, 5, 9, 16), (0, 1, 2)),
    "large": Budget(
        (0, 1, 2, 3, 4), (2, 3, 4, 6, 8, 10, 12, 14, 16, 18), (1, 2, 3, 4, 5, 7, 9, 12, 16),
        tuple(range(30)),
    ),
}  # fmt: skip

PER_FRAME: Options = {"method": "fcam"}
COLOCAM: Options = {}
TCAM_EPOCHS_FACTOR = 4
"""Equalizes training frames: an epoch of TCAM trains on one frame per shot for every n, an epoch of
the other methods on n of them (default 4)."""

NO_TERMS: Options = {"crf-weight": 0.0, "asc-weight": 0.0, "coloc-weight": 0.0}
CONSTANT = 2e-9
"""λ of the constant weight: upper end of the range recommended in the paper, at 224×224."""


def make_table(name: str, budget: Budget) -> Table:
    """Creates a table or figure.

    Args:
        name: a key of `TABLES`.
        budget: seeds and points.
    """
    return TABLES[name](budget)


def _table1(_: Budget) -> Table:
    maps: dict[str, tuple[Method, Published]] = {
        "CAM": ("cam", (50.1, 51.5)),
        "GradCAM": ("gradcam", (56.4, 54.5)),
        "GradCAM++": ("gradcam++", (63.2, 61.2)),
        "Smooth-GradCAM++": ("smoothgradcam++", (57.1, 59.5)),
        "XGradCAM": ("xgradcam", (56.7, 54.6)),
        "LayerCAM": ("layercam", (65.6, 66.0)),
    }
    rows = [Row(name, None, cam, published=numbers) for name, (cam, numbers) in maps.items()]
    return Table(
        "Methods (CoLo-CAM, Table 1, averages)",
        [*rows, *_decoders()],
        expected="LayerCAM is best of the activation maps, and every decoder is better.",
    )


def _decoders() -> list[Row]:
    return [
        Row("F-CAM", PER_FRAME, published=(70.0, 67.6)),
        Row(
            "TCAM",
            {"method": "tcam", "frames": 2},
            epochs_factor=TCAM_EPOCHS_FACTOR,
            published=(73.0, 72.2),
        ),
        Row("CoLo-CAM", COLOCAM, published=(82.1, 77.1)),
    ]


def _table2(_: Budget) -> Table:
    return Table(
        "Terms of the loss (CoLo-CAM, Table 2)",
        [
            Row("LayerCAM", None, published=(65.6, None)),
            Row("PL", NO_TERMS, published=(68.5, None)),
            Row("PL + CRF", _without("asc-weight", "coloc-weight"), published=(69.6, None)),
            Row("PL + ASC", _without("crf-weight", "coloc-weight"), published=(66.2, None)),
            Row("PL + ASC + CRF", PER_FRAME, published=(70.0, None)),
            Row("PL + ASC + CRF + CoLoc", COLOCAM, published=(82.1, None)),
        ],
        expected="Every term helps, the joint one most.",
    )


def _without(*weights: str) -> Options:
    return {name: NO_TERMS[name] for name in weights}


def _table3(_: Budget) -> Table:
    return Table(
        "Per frame, over time, jointly (CoLo-CAM, Table 3)",
        [Row("LayerCAM", None, published=(65.6, 66.0)), *_decoders()],
        expected="LayerCAM < F-CAM < TCAM < CoLo-CAM.",
    )


def _table5(_: Budget) -> Table:
    return Table(
        "Sampling of frames (CoLo-CAM, Table 5)",
        [
            Row("adjacent", COLOCAM, published=(82.1, None)),
            Row("Gaussian", {"sampling": "gaussian"}, published=(80.2, None)),
            Row("interval", {"sampling": "interval"}, published=(79.8, None)),
        ],
        expected="Adjacent frames serve best.",
    )


def _table6(_: Budget) -> Table:
    numbers = {
        "resnet50": ("ResNet50", 65.6, 82.1),
        "vgg16": ("VGG16", 65.2, 73.9),
        "inceptionv3": ("InceptionV3", 65.0, 76.9),
    }
    rows = []
    for encoder, (name, cam, colocam) in numbers.items():
        chosen = {"encoder": encoder}
        rows += [
            Row(f"LayerCAM, {name}", None, classifier=chosen, published=(cam, None)),
            Row(f"CoLo-CAM, {name}", COLOCAM, classifier=chosen, published=(colocam, None)),
        ]
    return Table("Backbones (CoLo-CAM, Table 6)", rows, expected="The gain holds for every one.")


def _table7(_: Budget) -> Table:
    published = {1: (78.68, None), 100: (75.77, None)}
    rows = [
        Row(f"m = {m}", COLOCAM, excluded_shots=m, published=published.get(m, (None, None)))
        for m in (1, 10, 50, 100)
    ]
    return Table(
        "m shots per class excluded from stage 2 at random (CoLo-CAM, Table 7)",
        rows,
        expected="CorLoc falls slowly with m.",
    )


def _tags(_: Budget) -> Table:
    rows = [
        Row("off"),
        Row("weight", {"tag-weighting": "weight"}),
        *(
            Row(f"discard below {least}", {"tag-weighting": "discard", "tag-threshold": least})
            for least in (0.3, 0.5)
        ),
    ]
    return Table(
        "Frames weighted by the probability of their tag (CoLo-CAM, Section 5, future work)",
        rows,
        expected="Frames without the object may be discarded, or weighted less.",
    )


def _features(_: Budget) -> Table:
    rows = [
        Row("colours", COLOCAM),
        Row("features", {"joint-features": "features"}),
        Row("colours and features", {"joint-features": "both"}),
    ]
    return Table(
        "What the joint term compares (beyond the papers)",
        rows,
    )


def _trcam(_: Budget) -> Table:
    rows = [
        Row("LayerCAM (the maps)", None, published=(65.6, 66.0)),
        Row("TrCAM-V on LayerCAM maps", {"method": "trcam"}),
        Row("CoLo-CAM", COLOCAM, published=(82.1, 77.1)),
    ]
    return Table(
        "TrCAM-V, with the encoder of the other methods and maps of LayerCAM",
        rows,
        expected="TrCAM-V is published with a DeiT encoder and maps of CLIP.",
    )


def _collapse(budget: Budget) -> Table:
    rows = _ramp_and_none("default", COLOCAM)
    for weight in (min(budget.weights), max(budget.weights)):
        for n in (min(budget.frames), max(budget.frames)):
            options = {"coloc-weight": float(weight), "frames": n}
            rows += _ramp_and_none(f"λ_c = {weight:g}, n = {n}", options)
    return Table(
        "Collapse at the ends of λ_c and n, with the joint term's ramp and without",
        rows,
        expected="Too large a λ_c lets the joint term outweigh the others.",
    )


def _ramp_and_none(name: str, options: Options) -> list[Row]:
    return [Row(name, options), Row(f"{name}, no ramp", {**options, "coloc-ramp": 0.0})]


def _fig2a(budget: Budget) -> Table:
    rows = []
    for n in budget.frames:
        best = {2: (73.0, None)} if n == 2 else {}
        rows.append(
            Row(
                f"TCAM, n = {n}", {"method": "tcam", "frames": n}, series="TCAM", x=n,
                epochs_factor=TCAM_EPOCHS_FACTOR, published=best.get(n, (None, None)),
            )
        )  # fmt: skip
    for n in budget.frames:
        known = {4: (82.1, None), 18: (80.0, None)}
        options = COLOCAM if n == 4 else {"frames": n}
        rows.append(
            Row(
                f"CoLo-CAM, n = {n}", options, series="CoLo-CAM", x=n,
                published=known.get(n, (None, None)),
            )
        )  # fmt: skip
    return Table(
        "Number of frames n (CoLo-CAM, Fig. 2a)",
        rows,
        "n, frames a sequence",
        "TCAM peaks at n = 2 and falls, CoLo-CAM peaks at n = 4 and holds.",
    )


def _fig2b(budget: Budget) -> Table:
    rows = [
        Row(f"λ_c = {weight:g}", {"coloc-weight": float(weight)}, series="CoLo-CAM", x=weight)
        for weight in budget.weights
    ]
    return Table(
        "Adaptive weight λ_c (CoLo-CAM, Fig. 2b)",
        rows,
        "λ_c",
        "Best between 3 and 7, worse at large values.",
    )


def _fig2c(budget: Budget) -> Table:
    rows = []
    for n in budget.frames:
        options: Options = {} if n == 4 else {"frames": n}
        rows.append(Row(f"adaptive, n = {n}", options, series="adaptive", x=n))
    for n in budget.frames:
        options = {"coloc-weighting": "constant", "coloc-weight": CONSTANT, "frames": n}
        rows.append(Row(f"constant, n = {n}", options, series="constant", x=n))
    return Table(
        "Constant weight against adaptive weight (CoLo-CAM, Fig. 2c)",
        rows,
        "n, frames a sequence",
        "The adaptive weight is flatter over n, the constant one falls beyond 6 frames.",
    )


def _fig3(budget: Budget) -> Table:
    rows = [row for row in _fig2a(budget).rows if row.series == "TCAM"]
    return Table(
        "Number of frames of TCAM (TCAM, Fig. 3)",
        rows,
        "n, frames a sequence",
        "Best with one earlier frame, worse with more.",
    )


TABLES = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "table5": _table5,
    "table6": _table6,
    "table7": _table7,
    "tags": _tags,
    "features": _features,
    "trcam": _trcam,
    "collapse": _collapse,
    "fig2a": _fig2a,
    "fig2b": _fig2b,
    "fig2c": _fig2c,
    "fig3": _fig3,
}
