"""The papers' tables and figures, trained anew: on the built-in clip set, or on any data.

    python bench/paper.py table3 [fig2a …] [--budget small|medium|large] [--seeds 0 1 2] […]

A row is trained once for each seed, without a GPU as many runs beside each other as there are cores
(`--jobs`). What is done already is not done again: finished rows, and the classifiers of stage 1,
stand in runs/paper/ and are shared by all tables; a run that was stopped goes on. Beside the mean
over seeds stands the published number, which is of YouTube-Objects and of ImageNet weights: only
the order of the rows can be compared.
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

from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from lib.machine import describe, headline
from lib.markdown_table import markdown_table, mean_and_deviation
from lib.paper.cells import Cell, Ground
from lib.paper.runs import run_beside
from lib.paper.tables import BUDGETS, TABLES, Budget, Row, Table, make_table
from lib.result_files import RESULTS, write_results

MOST_JOBS = 4  # each takes some 2 GB


@dataclass(frozen=True)
class Result:
    """A row over all seeds.

    Attributes:
        name, series, x: of the row.
        corloc: of each seed on test, published protocol, IoU 0.5, %.
        corloc_honest: of each seed, one threshold chosen on validation.
        validation: of each seed, on validation.
        one_sided: of each seed: share of training frames in videos gone to one side, %; None where
            no decoder was trained.
        commits: of the code that made each.
        published: on YouTube-Objects v1 and v2.2.
    """

    name: str
    series: str
    x: float
    corloc: list[float]
    corloc_honest: list[float]
    validation: list[float]
    one_sided: list[float | None]
    commits: list[str]
    published: tuple[float | None, float | None]

    @property
    def mean(self) -> str:
        """Over the seeds, with their standard deviation."""
        return mean_and_deviation(self.corloc)

    @property
    def mean_honest(self) -> str:
        """Alike."""
        return mean_and_deviation(self.corloc_honest)

    @property
    def mean_validation(self) -> str:
        """Alike."""
        return mean_and_deviation(self.validation)

    @property
    def mean_one_sided(self) -> str:
        """Alike."""
        return mean_and_deviation(self.one_sided)

    @property
    def v1(self) -> float | None:
        """Published on YouTube-Objects v1."""
        return self.published[0]

    @property
    def v2(self) -> float | None:
        """Published on YouTube-Objects v2.2."""
        return self.published[1]


HEADS = {
    "name": "",
    "mean": "CorLoc",
    "mean_honest": "CorLoc, one τ",
    "mean_validation": "on validation",
    "mean_one_sided": "gone to one side, %",
    "v1": "published, YTOv1",
    "v2": "published, YTOv2.2",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("tables", nargs="+", choices=tuple(TABLES), metavar="TABLE", help=", ".join(TABLES))
    add("--budget", choices=tuple(BUDGETS), default="small", help="seeds and points of figures")
    add("--seeds", type=int, nargs="+", metavar="N", help="instead of the budget's")
    add("--data", type=Path, metavar="DIR", help="(default: the built-in clip set)")
    add("--splits", type=Path, metavar="DIR", help="split files of --data")
    add("--preset", metavar="NAME", help="of train.py")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="runs beside each other (default: one; without a "
        f"GPU one a core, at most {MOST_JOBS})",
    )
    add("--runs", type=Path, default=Path("runs/paper"), metavar="DIR", help="of all the runs")
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="(default: bench/results)")
    add("--only-done", action="store_true", help="train nothing; tables of what is there")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> None:
    machine = describe()
    if _jobs(options) < 1:
        raise UserError(f"--jobs {options.jobs}: must be at least 1")
    budget = BUDGETS[options.budget]
    if options.seeds is not None:
        if min(options.seeds) < 0:
            raise UserError(f"--seeds {min(options.seeds)}: must not be negative")
        budget = replace(budget, seeds=options.seeds, draws=options.seeds)
    ground = _ground(options)
    for name in options.tables:
        table = make_table(name, budget)
        cells = [[Cell(ground, row, seed) for seed in _seeds(row, budget)] for row in table.rows]
        if not options.only_done:
            _run_all(name, cells, _jobs(options))
        _write(name, table, _results(cells), machine, options)


def _ground(options: argparse.Namespace) -> Ground:
    jobs = _jobs(options)
    return Ground(
        options.runs / _name_of(options), options.data, options.splits,
        {} if options.preset is None else {"preset": options.preset},
        max(1, _cores() // jobs) if jobs > 1 else None,
    )  # fmt: skip


def _jobs(options: argparse.Namespace) -> int:
    """Small networks keep one core busy, hardly two: runs beside each other finish sooner."""
    if options.jobs is not None:
        return options.jobs
    return 1 if torch.cuda.is_available() else min(_cores(), MOST_JOBS)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _name_of(options: argparse.Namespace) -> str:
    data = "builtin" if options.data is None else options.data.resolve().name
    return "-".join(filter(None, (data, options.preset)))


def _seeds(row: Row, budget: Budget) -> Sequence[int]:
    return budget.draws if row.left_out else budget.seeds


def _run_all(name: str, cells: Sequence[Sequence[Cell]], jobs: int) -> None:
    """As many seeds at once as runs, so that whole tables stand early."""
    missing = {cell.folder: cell for of_row in cells for cell in of_row if not cell.done}
    if not missing:
        return
    next(iter(missing.values())).ground.data_folder()  # draws the built-in set, once for all runs
    seeds = sorted({cell.seed for cell in missing.values()})
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task(name, total=len(missing))
        for start in range(0, len(seeds), jobs):
            now = seeds[start : start + jobs]
            _run_seeds([cell for cell in missing.values() if cell.seed in now], jobs, progress, bar)


def _run_seeds(cells: Sequence[Cell], jobs: int, progress: Progress, bar: TaskID) -> None:
    """Stage 1, then what needs nothing else, then stage 2."""

    def tell(cell: Cell, what: str, done: int = 0) -> None:
        said = f"{progress.tasks[bar].description.partition(':')[0]}: {what}, seed {cell.seed}"
        progress.update(bar, description=said, advance=done)

    first = list({cell.classifier: cell for cell in cells if not cell.has_classifier}.values())
    run_beside([cell.train_classifier for cell in first], jobs, lambda i: tell(first[i], "stage 1"))
    for cell in cells:
        if cell.row.options is None:
            cell.evaluate_map()  # takes all cores by itself
            tell(cell, cell.row.name, 1)
    second = [cell for cell in cells if cell.row.options is not None]
    run_beside(
        [cell.train_localizer for cell in second], jobs,
        lambda i: tell(second[i], second[i].row.name, 1),
    )  # fmt: skip


def _results(cells: Sequence[Sequence[Cell]]) -> list[Result]:
    """Of the cells that are done; rows without any are left out."""
    results = []
    for of_row in cells:
        numbers = [cell.numbers() for cell in of_row if cell.done]
        if numbers:
            row = of_row[0].row
            by_name = {name: [one[name] for one in numbers] for name in numbers[0]}
            commits = [cell.commit for cell in of_row if cell.done]
            results.append(
                Result(
                    row.name, row.series, row.x, commits=commits, published=row.published, **by_name
                )
            )  # fmt: skip
    return results


def _write(
    name: str,
    table: Table,
    results: Sequence[Result],
    machine: dict[str, object],
    options: argparse.Namespace,
) -> None:
    if not results:
        raise UserError(f"{name}: nothing is done in {options.runs}; leave --only-done away")
    data = _name_of(options)
    seeds = sorted({len(result.corloc) for result in results})
    counted = " to ".join(str(count) for count in seeds)
    commits = sorted({commit for result in results for commit in result.commits})
    lines = [
        f"**{table.title}.** {data}, seeds: {counted}, mean ± standard deviation of CorLoc in % at "
        f"IoU 0.5 on test; {headline(machine, 'cpu' if machine['gpu'] is None else 'cuda')}"
        f"{_beside(options)}; trained at {', '.join(commits)}.",
        "",
        *markdown_table(HEADS, results),
        "",
        f"- The papers: {table.expected}",
    ]
    path = options.results / f"paper-{name}-{data}.json"
    rows = [asdict(result) for result in results]
    result = {"machine": machine, "data": data, "budget": options.budget, "rows": rows}
    write_results(path, result, lines, ".md")
    if table.x_label is not None:
        _draw(path.with_suffix(".png"), table, results)


def _beside(options: argparse.Namespace) -> str:
    """What a reader should know of how the runs shared the machine."""
    jobs = _jobs(options)
    return f", {jobs} runs beside each other" if jobs > 1 and not options.only_done else ""


def _draw(path: Path, table: Table, results: Sequence[Result]) -> None:
    try:
        from lib.paper.figures import draw
    except ImportError:
        print(f"{path}: not drawn; pip install 'colocam[plot]'")
        return
    draw(path, table, results)


if __name__ == "__main__":
    sys.exit(main())
