"""Tables and figures of the papers, reproduced on the built-in clip set or on other data.

    python bench/paper.py table3 [fig2a …] [--budget small|medium|large] [--seeds 0 1 2] […]

Every row is trained once per seed; without a GPU, as many runs are parallel as there are cores
(`--jobs`). Finished trials and classifiers of stage 1 are kept in runs/paper/ and shared by all
tables; interrupted runs are resumed. The published numbers refer to YouTube-Objects and ImageNet
weights: only the order of the rows is comparable.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from lib.arguments import add_data, check_at_least, make_parser
from lib.machine import Machine, describe, headline
from lib.markdown_table import markdown_table, mean_and_deviation, page
from lib.paper.runs import run_parallel
from lib.paper.stored_maps import make_trial
from lib.paper.tables import BUDGETS, TABLES, Budget, Row, Table, make_table
from lib.paper.trials import Experiment, Trial, honest_corloc
from lib.result_files import RESULTS, write_results

from colocam.evaluation.boxes import CENTRE_BOX
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

MAX_JOBS = 4  # about 2 GB of memory each


@dataclass(frozen=True)
class Result:
    """Results of a row over all seeds.

    Attributes:
        name, series, x: of the row.
        corloc, corloc_honest, validation, one_sided: of each seed, see `lib.paper.trials.Scores`.
        commits: of the code that finished each trial.
        published: CorLoc on YouTube-Objects v1 and v2.2, %.
    """

    name: str
    series: str
    x: float
    corloc: list[float]
    corloc_honest: list[float | None]
    validation: list[float]
    one_sided: list[float | None]
    commits: list[str]
    published: tuple[float | None, float | None]

    @property
    def mean(self) -> str:
        """CorLoc: mean ± standard deviation over the seeds."""
        return mean_and_deviation(self.corloc)

    @property
    def mean_honest(self) -> str:
        """CorLoc with one threshold: mean ± standard deviation."""
        return mean_and_deviation(self.corloc_honest)

    @property
    def mean_validation(self) -> str:
        """CorLoc on validation: mean ± standard deviation."""
        return mean_and_deviation(self.validation)

    @property
    def mean_one_sided(self) -> str:
        """Share of one-sided frames: mean ± standard deviation."""
        return mean_and_deviation(self.one_sided)

    @property
    def v1(self) -> float | None:
        """Published CorLoc on YouTube-Objects v1."""
        return self.published[0]

    @property
    def v2(self) -> float | None:
        """Published CorLoc on YouTube-Objects v2.2."""
        return self.published[1]


HEADS = {
    "name": "",
    "mean": "CorLoc",
    "mean_honest": "CorLoc, one τ",
    "mean_validation": "on validation",
    "mean_one_sided": "one-sided, %",
    "v1": "published, YTOv1",
    "v2": "published, YTOv2.2",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("tables", nargs="+", choices=tuple(TABLES), metavar="TABLE", help=", ".join(TABLES))
    add("--budget", choices=tuple(BUDGETS), default="small", help="seeds, and points of figures")
    add("--seeds", type=int, nargs="+", metavar="N", help="(default: those of the budget)")
    add_data(parser, "the built-in clip set")
    add("--preset", metavar="NAME", help="preset of train.py")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help=f"parallel runs (default: one on a GPU; else one per core, at most {MAX_JOBS})",
    )
    add(
        "--runs",
        type=Path,
        default=Path("runs/paper"),
        metavar="DIR",
        help="run folders (default: runs/paper)",
    )
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="(default: bench/results)")
    add("--only-done", action="store_true", help="train nothing; tables of finished trials")
    options = parser.parse_args(argv)
    check_at_least(options, jobs=1)
    return options


def _run(options: argparse.Namespace) -> None:
    machine = describe()
    budget = BUDGETS[options.budget]
    if options.seeds is not None:
        if min(options.seeds) < 0:
            raise UserError(f"--seeds {min(options.seeds)}: must not be negative")
        budget = replace(budget, seeds=options.seeds, draws=options.seeds)
    experiment = _experiment(options)
    for name in options.tables:
        table = make_table(name, budget)
        trials = [
            [make_trial(experiment, row, seed) for seed in _seeds(row, budget)]
            for row in table.rows
        ]
        if not options.only_done:
            _run_all(name, trials, _jobs(options))
        _write(name, table, _results(table, trials), machine, options)


def _experiment(options: argparse.Namespace) -> Experiment:
    jobs = _jobs(options)
    return Experiment(
        folder=options.runs / _name_of(options),
        data=options.data,
        splits=options.splits,
        options={} if options.preset is None else {"preset": options.preset},
        threads=max(1, _cores() // jobs) if jobs > 1 else None,
    )


def _jobs(options: argparse.Namespace) -> int:
    """Number of parallel runs: a small network hardly uses more than one core."""
    if options.jobs is not None:
        return options.jobs
    return 1 if torch.cuda.is_available() else min(_cores(), MAX_JOBS)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _name_of(options: argparse.Namespace) -> str:
    data = "builtin" if options.data is None else options.data.resolve().name
    return "-".join(filter(None, (data, options.preset)))


def _seeds(row: Row, budget: Budget) -> Sequence[int]:
    return budget.draws if row.excluded_shots else budget.seeds


def _run_all(name: str, trials: Sequence[Sequence[Trial]], jobs: int) -> None:
    """Runs unfinished trials, `jobs` seeds at a time, so that complete tables are early."""
    missing = {trial.folder: trial for of_row in trials for trial in of_row if not trial.done}
    if not missing:
        return
    next(iter(missing.values())).experiment.data_folder()  # generates it before parallel runs
    seeds = sorted({trial.seed for trial in missing.values()})
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(name, total=len(missing))
        for start in range(0, len(seeds), jobs):
            now = seeds[start : start + jobs]
            trials_now = [trial for trial in missing.values() if trial.seed in now]
            _run_seeds(trials_now, jobs, progress, bar)


def _run_seeds(trials: Sequence[Trial], jobs: int, progress: Progress, bar: TaskID) -> None:
    """Runs stage 1, then evaluates activation maps, then runs stage 2."""
    table = progress.tasks[bar].description.partition(":")[0]

    def update(trial: Trial, what: str, done: int = 0) -> None:
        progress.update(bar, description=f"{table}: {what}, seed {trial.seed}", advance=done)

    first = list({one.classifier: one for one in trials if not one.has_classifier}.values())
    run_parallel(
        [trial.train_classifier for trial in first], jobs, lambda i: update(first[i], "stage 1")
    )
    for trial in trials:
        if trial.row.options is None:
            trial.evaluate_map()  # uses all cores
            update(trial, trial.row.name, 1)
    second = [trial for trial in trials if trial.row.options is not None]
    run_parallel(
        [trial.train_localizer for trial in second],
        jobs,
        lambda i: update(second[i], second[i].row.name, 1),
    )


def _results(table: Table, trials: Sequence[Sequence[Trial]]) -> list[Result]:
    """Results of the finished trials; rows without any are skipped.

    A table that is no figure begins with the box around the centre.
    """
    results: list[Result] = []
    for of_row in trials:
        done = [trial for trial in of_row if trial.done]
        if not done:
            continue
        if not results and table.x_label is None:
            results += _centre_box(done[0])
        row, scores = done[0].row, [trial.scores() for trial in done]
        results.append(
            Result(
                name=row.name,
                series=row.series,
                x=row.x,
                corloc=[one["corloc"] for one in scores],
                corloc_honest=[one["corloc_honest"] for one in scores],
                validation=[one["validation"] for one in scores],
                one_sided=[one["one_sided"] for one in scores],
                commits=[trial.commit for trial in done],
                published=row.published,
            )
        )
    return results


def _centre_box(trial: Trial) -> list[Result]:
    """Result of the box around the centre; none of trials evaluated without it."""
    summary = trial.summary().get("centre_box")
    if summary is None:
        return []
    corloc, honest = summary["corloc"]["0.5"], honest_corloc(summary)
    return [Result(CENTRE_BOX, "", 0.0, [corloc], [honest], [], [], [], (None, None))]


def _write(
    name: str,
    table: Table,
    results: Sequence[Result],
    machine: Machine,
    options: argparse.Namespace,
) -> None:
    if not results:
        raise UserError(f"{name}: no finished trial in {options.runs}; omit --only-done")
    data = _name_of(options)
    seeds = sorted({len(result.corloc) for result in results if result.validation})
    counted = " to ".join(str(count) for count in seeds)
    commits = sorted({commit for result in results for commit in result.commits})
    heading = (
        f"**{table.title}.** {data}, seeds: {counted}, mean ± standard deviation of CorLoc in % at "
        f"IoU 0.5 on test; {headline(machine, 'cpu' if machine['gpu'] is None else 'cuda')}"
        f"{_parallel(options)}; trained at {', '.join(commits)}."
    )
    notes = [f"The papers: {table.expected}"] if table.expected else []
    lines = page(heading, markdown_table(HEADS, results), notes)
    path = options.results / f"paper-{name}-{data}.json"
    rows = [asdict(result) for result in results]
    result = {"machine": machine, "data": data, "budget": options.budget, "rows": rows}
    write_results(path, result, lines, ".md")
    if table.x_label is not None:
        _draw(path.with_suffix(".png"), table, results)


def _parallel(options: argparse.Namespace) -> str:
    """Number of parallel runs, for the heading."""
    jobs = _jobs(options)
    return f", {jobs} parallel runs" if jobs > 1 and not options.only_done else ""


def _draw(path: Path, table: Table, results: Sequence[Result]) -> None:
    try:
        from lib.paper.figures import draw
    except ImportError:
        print(f'{path}: not drawn: matplotlib is not installed; pip install -e ".[plot]"')
        return
    draw(path, table, results)


if __name__ == "__main__":
    sys.exit(main())
