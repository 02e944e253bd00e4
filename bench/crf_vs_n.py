"""Time of the CRF terms against the number of frames n (CoLo-CAM paper, Fig. 2d).

    python bench/crf_vs_n.py [--device auto|cpu|cuda] [--n 2 4 8 16 18 32 64] [--video PATH]

The joint colour term has all n frames in one group, the spatial term has one group per frame.
Reported with the times: peak memory, the share of the memory roofline, errors relative to the exact
filter on a small crop, and the same filter by other packages if installed (extra `peers`).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from lib.arguments import (
    add_device,
    add_json,
    add_seconds,
    add_size,
    add_video,
    check_at_least,
    check_seconds,
    make_parser,
)
from lib.crf import accuracy
from lib.crf.accuracy import Errors, make_reference
from lib.crf.peers import PEERS, why_skipped
from lib.crf.table import (
    HEADS,
    PUBLISHED,
    Row,
    can_plot,
    csv_text,
    draw_figure,
    notes,
    published_ms,
    ratio_lines,
    ratios,
)
from lib.crf.terms import SIGMA_XY, CrfTerm, least_bytes, make_term
from lib.frames import FrameSet, load_frames
from lib.machine import (
    Machine,
    OtherProcesses,
    describe,
    file_name_of,
    headline,
    processor_name,
    version_of,
    wait_until_idle,
)
from lib.markdown_table import markdown_table, page
from lib.result_files import result_path, write_results
from lib.timing import copy_bandwidth, peak_memory, time_graph, time_work

from colocam.runtime.device import pick_device
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_whole

OWN_METHODS = ("grid", "permutohedral", "permutohedral-published")
DEFAULT_METHODS = ("grid", "permutohedral", *PEERS)
FRAMES = (2, 4, 8, 16, 18, 32, 64)
BESIDE = ".csv, .md and .png"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_device(parser)
    add(
        "--n",
        type=int,
        nargs="+",
        default=list(FRAMES),
        help=f"numbers of frames (default: {' '.join(map(str, FRAMES))})",
    )
    add_video(parser)
    add_size(parser, "square frames")
    add(
        "--terms",
        nargs="+",
        choices=tuple(SIGMA_XY),
        default=list(SIGMA_XY),
        help=f"(default: {' '.join(SIGMA_XY)})",
    )
    add(
        "--methods",
        nargs="+",
        choices=(*OWN_METHODS, *PEERS),
        default=list(DEFAULT_METHODS),
        help=f"(default: {' '.join(DEFAULT_METHODS)})",
    )
    add_seconds(parser, 2.0, "each measurement")
    add(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="per row, maximum time to wait for idle processes and repeat a disturbed measurement "
        "(default: 0)",
    )
    add_json(parser, "crf_vs_n-PROCESSOR")
    add(
        "--plot",
        action=argparse.BooleanOptionalAction,
        help="draw the figure (default: if matplotlib is installed)",
    )
    add("--log", action="store_true", help="logarithmic axes in the figure")
    options = parser.parse_args(argv)
    check_at_least(options, n=1, size=8)
    check_seconds(options)
    if options.plot and not can_plot():
        raise UserError('--plot: matplotlib is not installed; pip install -e ".[plot]"')
    options.n = sorted(set(options.n))
    return options


@dataclass(frozen=True)
class Subject:
    """Subject of the measurements at every n: a method on a term, and its errors on a crop."""

    term: str
    method: str
    errors: Errors


def _run(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    device = pick_device(options.device)
    machine = describe()  # first: it includes the load before this run
    path = result_path(options.json, f"crf_vs_n-{file_name_of(machine, device.type)}", BESIDE)
    pairs = _pairs(options, device, console)
    frames = load_frames(options.video, options.n[-1], options.size)
    console.print(frames.about, markup=False)
    bandwidth = copy_bandwidth(device)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("accuracy", total=None)
        subjects = _measure_accuracy(pairs, frames, device, console)
        progress.update(bar, total=len(subjects) * len(options.n))
        rows: list[Row] = []
        try:
            for n in options.n:
                for subject in subjects:
                    progress.update(bar, description=f"n = {n}: {subject.term}, {subject.method}")
                    rows += _measure_undisturbed(
                        subject, frames.take(n), device, bandwidth, options
                    )
                    progress.advance(bar)
        finally:  # rows measured so far are written after an error too
            if rows:
                _write(path, rows, machine, frames, bandwidth, options)


def _pairs(
    options: argparse.Namespace, device: torch.device, console: Console
) -> list[tuple[str, str]]:
    """Pairs (term, method) to measure, without those that do not exist or are not installed."""
    skipped = {name: why_skipped(name, device) for name in PEERS if name in options.methods}
    for line in filter(None, skipped.values()):
        console.print(line, style="yellow", markup=False)
    pairs = [
        (term, method)
        for term in options.terms
        for method in dict.fromkeys(options.methods)
        if not skipped.get(method) and (term, method) != ("spatial", "grid")
    ]
    if not pairs:
        raise UserError("--terms, --methods: nothing to measure; choose others")
    return pairs


def _measure_accuracy(
    pairs: list[tuple[str, str]], frames: FrameSet, device: torch.device, console: Console
) -> list[Subject]:
    """Measures the errors of every pair. A package that fails is skipped with a warning."""
    images = frames.take(min(accuracy.FRAMES, len(frames.frames)))
    references = {term: make_reference(term, images, device) for term, _ in pairs}
    subjects = []
    for term, method in pairs:
        try:
            subjects.append(Subject(term, method, references[term].errors(method)))
        except Exception as error:
            if method not in PEERS:  # other packages raise any error, e.g. of their compilers
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            console.print(f"{method}: skipped; it failed: {reason}", style="yellow", markup=False)
    return subjects


def _measure_undisturbed(
    subject: Subject,
    images: torch.Tensor,
    device: torch.device,
    bandwidth: float,
    options: argparse.Namespace,
) -> list[Row]:
    """Measures one row, again while other processes disturb it; returns the least disturbed.

    Waits until other processes are idle before each further try, at most --wait in total.
    """
    end = time.monotonic() + options.wait
    tries = [_measure(subject, images, device, bandwidth, options.seconds)]
    while any(row.disturbed for row in tries[-1]) and time.monotonic() < end:
        wait_until_idle(end - time.monotonic())
        tries.append(_measure(subject, images, device, bandwidth, options.seconds))
    return min(tries, key=lambda rows: [row.others_cpu_percent or 0 for row in rows])


def _measure(
    subject: Subject, images: torch.Tensor, device: torch.device, bandwidth: float, seconds: float
) -> list[Row]:
    """Measures one row; none where a package is not measured at this size."""
    n, size = images.shape[0], images.shape[-1]
    term = make_term(subject.term, images, device, torch.float32)
    if subject.method in PEERS and not PEERS[subject.method].supports(term):
        return []
    others = OtherProcesses()
    measured = (_measure_peer if subject.method in PEERS else _measure_own)(
        term, subject.method, device, seconds
    )
    floor = 1e3 * least_bytes(term.pixels) / bandwidth
    whole = measured.graph_ms or measured.forward_backward_ms
    return [
        Row(
            n=n,
            term=subject.term,
            method=subject.method,
            **asdict(measured),
            mpixel_per_s=term.pixels / 1e3 / (measured.graph_ms or measured.forward_ms),
            floor_ms=floor,
            roofline_percent=None if whole is None else 100 * floor / whole,
            filter_error_percent=subject.errors.filtered,
            energy_error_percent=subject.errors.energy,
            published_ms=published_ms(subject.term, n, size),
            others_cpu_percent=others.percent(),
        )
    ]


@dataclass(frozen=True)
class Measured:
    """Measured fields of a `Row`."""

    device: str
    forward_ms: float
    forward_min_ms: float
    forward_max_ms: float
    forward_backward_ms: float | None
    graph_ms: float | None
    peak_mb: float | None


def _measure_own(term: CrfTerm, method: str, device: torch.device, seconds: float) -> Measured:
    """Measures a method of `colocam.kernels`."""

    def gradient() -> torch.Tensor:
        return term.gradient(method)

    forward = time_work(lambda: lambda: term.energy(method), device, seconds)
    whole = time_work(lambda: gradient, device, seconds)
    peak = peak_memory(lambda: gradient, device)
    graph = time_graph(gradient, seconds) if device.type == "cuda" else None
    return Measured(
        device=device.type,
        forward_ms=forward.median,
        forward_min_ms=min(forward.ms),
        forward_max_ms=max(forward.ms),
        forward_backward_ms=whole.median,
        graph_ms=None if graph is None else graph.median,
        peak_mb=peak,
    )


def _measure_peer(term: CrfTerm, method: str, device: torch.device, seconds: float) -> Measured:
    """Measures another package, which has one time: of a filtering."""
    peer = PEERS[method](term)
    where = torch.device(peer.device)
    times = time_work(peer.make_work, where, seconds)
    return Measured(
        device=peer.device,
        forward_ms=times.median,
        forward_min_ms=min(times.ms),
        forward_max_ms=max(times.ms),
        forward_backward_ms=None,
        graph_ms=None,
        peak_mb=peak_memory(peer.make_work, where),
    )


def _write(
    path: Path,
    rows: list[Row],
    machine: Machine,
    frames: FrameSet,
    bandwidth: float,
    options: argparse.Namespace,
) -> None:
    """Writes JSON, CSV, Markdown and the figure; prints the table."""
    valid = [row for row in rows if not row.disturbed]
    found = ratios(valid)
    device = "cuda" if any(row.device == "cuda" for row in rows) else "cpu"
    heading = (
        f"{headline(machine, device)}, {bandwidth / 1e9:.1f} GB/s copied; "
        f"{options.size}×{options.size}, {frames.about}."
    )
    lines = page(heading, markdown_table(HEADS, rows), [*ratio_lines(found), *notes(rows)])
    result = {
        "machine": machine,
        "peers": {name: version_of(name) for name in ("pydensecrf2", "pykeops")},
        "frames": frames.about,
        "size": options.size,
        "seconds": options.seconds,
        "copy_bytes_per_s": bandwidth,
        "published": PUBLISHED,
        "ratios_64_16": found,
        "rows": [asdict(row) for row in rows],
    }
    plots = can_plot() if options.plot is None else options.plot
    write_results(path, result, lines, BESIDE if plots else ".csv, .md")
    write_whole(path.with_suffix(".csv"), csv_text(rows).encode())
    if plots:
        figure = draw_figure(valid, processor_name(machine, device), options.log)
        write_whole(path.with_suffix(".png"), figure)


if __name__ == "__main__":
    sys.exit(main())
