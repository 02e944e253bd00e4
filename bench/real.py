"""CorLoc on real video: activation map, F-CAM, TCAM, TrCAM-V, CoLo-CAM, box around the centre.

    python bench/real.py --data DIR [--splits DIR] [--budget small|medium] [--seeds 0 1 2] […]

DIR holds the videos as train.py reads them, the folder of --splits (default: DIR-splits) one folder
of split files for each experiment: "disjoint" trains and tests on different videos, "all" trains on
the tags of the videos that are tested (transductive). All methods share stage 1, seeds and the
number of steps; thresholds and epochs are chosen on validation. `--table stage1` varies the layers
that stage 1 trains, `--table settings` undoes choices of the preset, `--table collapse` varies λ_c,
n and the start of the maps, `--table teacher` trains with maps of a trained model's boxes
(self-training). Finished trials are kept in runs/real/; interrupted ones are resumed. A
contact sheet is written there, too.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from lib.arguments import check_at_least, make_parser
from lib.machine import Machine, describe, file_name_of, headline
from lib.markdown_table import markdown_table, mean_and_deviation, page
from lib.paper.runs import run_parallel
from lib.paper.tables import Options, Row
from lib.paper.trials import Experiment, Trial, honest_corloc
from lib.real.sheet import write_sheet
from lib.real.trials import make_trial
from lib.result_files import RESULTS, write_results

from colocam.data.layouts.open import open_data
from colocam.evaluation.boxes import CENTRE_BOX
from colocam.models.timm_encoder import LITE
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from colocam.training.config import default_preset, value_type

_FINE_TUNING: Options = {
    "classifier-epochs": 4,
    "classifier-lr": 0.001,
    "classifier-head-factor": 20.0,
    "classifier-decay-every": 2,
    "classifier-evaluate-every": 1,
}
COLOURS: Options = {"joint-features": "color", "coloc-weight": 5.0}  # λ_c that was best with these
TABLES: dict[str, Sequence[Row]] = {
    "methods": (
        Row("LayerCAM", None),
        Row("F-CAM", {"method": "fcam"}),
        Row("TCAM", {"method": "tcam", "frames": 2}),
        Row("TrCAM-V on LayerCAM maps", {"method": "trcam"}),
        Row("CoLo-CAM, colours", COLOURS),
        Row("CoLo-CAM, features", {"joint-features": "features"}),
        Row("CoLo-CAM, colours and features", {}),
    ),
    # Which layers does stage 1 train? CorLoc is that of LayerCAM.
    "stage1": (
        Row("head", None),
        Row("last block and head", None, classifier={"classifier-layers": "last", **_FINE_TUNING}),
        Row("all layers", None, classifier={"classifier-layers": "all", **_FINE_TUNING}),
    ),
    # What do the presets for real video gain over other settings?
    "settings": (
        Row("CoLo-CAM", {}),
        Row("all of the dilation", {}, classifier={"encoder": f"timm:{LITE}"}),  # of real-cpu
        Row("published seeds", {"seed-foreground-share": 0.7, "seed-background-share": 0.1}),
        Row("learning rate 0.01", {"lr": 0.01}),
        Row("colours alone", COLOURS),
    ),
    # Does CoLo-CAM gain from its own boxes on the training videos, as seeds?
    "teacher": (
        Row("LayerCAM", None),
        Row("CoLo-CAM", {}),
        Row("CoLo-CAM, taught by its boxes", {}, taught=True),
    ),
    # Does the joint term turn maps all foreground or all background?
    "collapse": (
        Row("λ_c = 1", {"coloc-weight": 1.0}),
        Row("λ_c = 5", {"coloc-weight": 5.0}),
        Row("n = 2", {"frames": 2}),
        Row("n = 8", {"frames": 8}),
        Row("random start", {"initial-foreground": 0.0}),
        Row("colours alone, λ_c = 9", {"joint-features": "color"}),
    ),
}
BUDGETS: dict[str, Options] = {
    # About an hour per split on two cores.
    "small": {"epochs": 3, "decay-every": 1, "decay": 0.3, "evaluate-every": 3},
    "medium": {},
}
HEADS = {
    "name": "",
    "published": "CorLoc",
    "one": "CorLoc, one τ",
    "low": "IoU 0.3",
    "high": "IoU 0.7",
    "v2": "version 2",
    "on_validation": "on validation",
    "collapsed": "one-sided, %",
}


@dataclass(frozen=True)
class Result:
    """Results of a method on one split, each a value per seed in %.

    Attributes:
        name: of the method.
        corloc, corloc_honest: published protocol, and one threshold chosen on validation.
        iou03, iou07: published protocol at other IoUs.
        corloc_v2: version 2.
        validation: CorLoc on validation of the selected checkpoint.
        one_sided: share of training frames in one-sided sequences in the last epoch.
        commits: of the code that finished each trial.
    """

    name: str
    corloc: list[float]
    corloc_honest: list[float | None]
    iou03: list[float]
    iou07: list[float]
    corloc_v2: list[float]
    validation: list[float]
    one_sided: list[float | None]
    commits: list[str]

    published = property(lambda self: mean_and_deviation(self.corloc))
    one = property(lambda self: mean_and_deviation(self.corloc_honest))
    low = property(lambda self: mean_and_deviation(self.iou03))
    high = property(lambda self: mean_and_deviation(self.iou07))
    v2 = property(lambda self: mean_and_deviation(self.corloc_v2))
    on_validation = property(lambda self: mean_and_deviation(self.validation))
    collapsed = property(lambda self: mean_and_deviation(self.one_sided))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="videos, see docs/data.md")
    add("--splits", type=Path, metavar="DIR", help="folders of split files (default: DATA-splits)")
    add("--only", nargs="+", metavar="NAME", help="splits to run (default: all)")
    add("--table", choices=tuple(TABLES), default="methods", help="(default: methods)")
    add("--budget", choices=tuple(BUDGETS), default="small", help="length of stage 2")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    add("--preset", metavar="NAME", help="preset of train.py")
    add("--jobs", type=int, default=1, metavar="N", help="parallel runs (default: 1)")
    add("--runs", type=Path, default=Path("runs/real"), metavar="DIR", help="run folders")
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="(default: bench/results)")
    add("--show", nargs="+", metavar="CLASS", help="classes in the contact sheet (default: all)")
    add("--only-done", action="store_true", help="train nothing; tables of finished trials")
    options = parser.parse_args(argv)
    check_at_least(options, jobs=1, seeds=0)
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()
    experiments = {
        name: _experiment(options, name, splits) for name, splits in _splits(options).items()
    }
    for experiment in experiments.values():
        _check(experiment, options.show)
    for name, experiment in experiments.items():
        trials = [
            [make_trial(experiment, row, seed) for seed in sorted(set(options.seeds))]
            for row in TABLES[options.table]
        ]
        if not options.only_done:
            _train(name, trials, options.jobs)
        _write(name, trials, machine, options)


def _splits(options: argparse.Namespace) -> dict[str, Path]:
    """Folders of split files by name."""
    data: Path = options.data
    if not data.is_dir():
        raise UserError(f"--data {data}: no such folder")
    whole = data.resolve()
    folder: Path = options.splits or whole.with_name(f"{whole.name}-splits")
    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/class_id.yaml"))}
    if not found:
        raise UserError(f"--splits {folder}: no folder of split files in it")
    for name in options.only or ():
        if name not in found:
            raise UserError(f"--only {name}: {folder} has {', '.join(found)}")
    chosen = options.only or ("disjoint", *found)
    return {name: found[name] for name in dict.fromkeys(chosen) if name in found}


def _experiment(options: argparse.Namespace, name: str, splits: Path) -> Experiment:
    preset = options.preset or default_preset(True, torch.cuda.is_available())
    given = {**BUDGETS[options.budget], "preset": preset}
    cores = torch.get_num_threads()
    return Experiment(
        folder=options.runs / f"{options.data.resolve().name}-{name}-{preset}-{options.budget}",
        data=options.data,
        splits=splits,
        options=given,
        threads=max(1, cores // options.jobs) if options.jobs > 1 else None,
    )


def _check(experiment: Experiment, shown: Sequence[str] | None) -> None:
    """Checks the data before anything is trained.

    Raises:
        UserError: validation or test frames have no boxes, or a class of --show does not exist.
    """
    data = open_data(experiment.data_folder(), experiment.splits, seed=0)
    for split, records in (("validation", data.val), ("test", data.test)):
        if not any(record.boxes for record in records):
            raise UserError(f"{experiment.splits}: no {split} frame has boxes")
    for name in shown or ():
        if name not in data.classes:
            raise UserError(f"--show {name}: the classes are {', '.join(data.classes)}")


def _train(name: str, trials: Sequence[Sequence[Trial]], jobs: int) -> None:
    """Trains and evaluates the unfinished trials, all methods of a seed before the next seed."""
    missing = [
        trial for of_seed in zip(*trials, strict=True) for trial in of_seed if not trial.done
    ]
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(name, total=len(missing))
        first = {one.classifier: one for one in missing if not one.has_classifier}
        run_parallel([one.train_classifier for one in first.values()], jobs, lambda _: None)
        missing = [trial for trial in missing if not trial.done]  # stage 1 has evaluated the CAM
        progress.update(bar, total=len(missing))
        tasks = [trial.train_localizer for trial in missing]
        run_parallel(
            tasks,
            jobs,
            lambda i: progress.update(
                bar, advance=1, description=f"{name}: {missing[i].row.name}, seed {missing[i].seed}"
            ),
        )


def _result(trials: Sequence[Trial]) -> Result:
    """Results of the finished trials of a method."""
    scores, summaries = [one.scores() for one in trials], [one.summary() for one in trials]
    return Result(
        trials[0].row.name,
        [one["corloc"] for one in scores],
        [one["corloc_honest"] for one in scores],
        [one["corloc"]["0.3"] for one in summaries],
        [one["corloc"]["0.7"] for one in summaries],
        [one["corloc_v2"] for one in summaries],
        [one["validation"] for one in scores],
        [one["one_sided"] for one in scores],
        [one.commit for one in trials],
    )


def _write(
    name: str,
    trials: Sequence[Sequence[Trial]],
    machine: Machine,
    options: argparse.Namespace,
) -> None:
    """Writes table, JSON and contact sheet of the finished trials of a split."""
    done = [[trial for trial in of_row if trial.done] for of_row in trials]
    done = [of_row for of_row in done if of_row]
    if not done:
        raise UserError(f"{name}: no finished trial in {options.runs}; omit --only-done")
    results = [_result(of_row) for of_row in done]
    centre = done[0][0].summary()["centre_box"]
    seeds = ", ".join(str(trial.seed) for trial in done[-1])
    commits = sorted({commit for result in results for commit in result.commits})
    kind = "the tested videos train by their tags" if name == "all" else "tested on other videos"
    config = trials[0][0].experiment.config
    device = "cpu" if machine["gpu"] is None else "cuda"
    steps = config.epochs * config.epoch_steps  # more if one draw of every shot makes more
    heading = (
        f"**Real video, {name}: {kind}.** {options.data.resolve().name}, {config.encoder} at "
        f"{config.crop}×{config.crop}, at least {steps} steps of {config.batch_size} frames; seeds "
        f"{seeds}, mean ± standard deviation of CorLoc in % at IoU 0.5; "
        f"{headline(machine, device)}; trained at "
        f"{', '.join(commits)}."
    )
    rows: list[Any] = [_centre_row(centre), *results]
    table = "" if options.table == "methods" else f"{options.table}-"
    file = f"real-{table}{name}-{options.budget}-{file_name_of(machine, device)}.json"
    result = {
        "machine": machine,
        "split": name,
        "budget": options.budget,
        "options": {
            option.name: getattr(config, option.name)
            for option in fields(config)
            if value_type(option) is not Path  # folders of this machine
        },
        "centre_box": {name: centre[name] for name in ("corloc", "corloc_honest", "corloc_v2")},
        "rows": [asdict(one) for one in results],
    }
    write_results(
        options.results / file, result, page(heading, markdown_table(HEADS, rows), NOTES), ".md"
    )
    last = done[-1][0]
    if (
        options.table == "methods"
        and last.row.options is not None
        and last.experiment.splits is not None
    ):
        sheet = last.experiment.folder.with_suffix(".png")
        write_sheet(last.folder, options.data, last.experiment.splits, sheet, options.show)
        print(f"{sheet}: the worst, the median and the best frames of {last.row.name}")


NOTES = (
    "CorLoc: published protocol, a threshold per class that is best on the tested frames; one τ: "
    "one threshold for all classes, chosen on validation.",
    f"{CENTRE_BOX}: the best box around the centre of the frame, by the same protocol.",
    "One-sided: share of the training frames in sequences whose maps are all foreground or all "
    "background, in the last epoch.",
)


def _centre_row(summary: Mapping[str, Any]) -> Any:
    """The row of the box around the centre, which has no seed."""
    values = {
        "name": CENTRE_BOX,
        "published": summary["corloc"]["0.5"],
        "one": honest_corloc(summary),
        "low": summary["corloc"]["0.3"],
        "high": summary["corloc"]["0.7"],
        "v2": summary["corloc_v2"],
    }
    cells = {name: value if name == "name" else f"{value:.1f}" for name, value in values.items()
             if value is not None}  # fmt: skip
    return argparse.Namespace(**dict.fromkeys(HEADS) | cells)


if __name__ == "__main__":
    sys.exit(main())
