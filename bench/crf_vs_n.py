"""How long the CRF terms take against the number of frames n (CoLo-CAM paper, Fig. 2d).

    python bench/crf_vs_n.py [--device auto|cpu|cuda] [--n 2 4 8 16 18 32 64] [--video PATH]

The joint colour term has all n frames in one group, the spatial term a group a frame. Beside the
times: memory, the share of what memory bandwidth allows, errors against the exact filter on a
small crop, and the same filter by other packages where these are installed (extra `peers`).
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

from colocam.runtime.device import pick_device
from colocam.runtime.entry import CommandParser, exit_status
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_atomic
from lib.crf import accuracy as crf_accuracy
from lib.crf.accuracy import Errors, make_reference
from lib.crf.peers import PEERS, missing
from lib.crf.table import (
    HEADS,
    PUBLISHED,
    Row,
    can_plot,
    csv_text,
    draw_figure,
    published_ms,
    ratio_lines,
    ratios,
)
from lib.crf.terms import SIGMA_XY, CrfTerm, least_bytes, make_term
from lib.frames import FrameSet, load_frames
from lib.machine import (
    QUIET_PERCENT,
    OtherProcesses,
    describe,
    disturbing,
    file_name_of,
    headline,
    name_of,
    version_of,
    wait_for_quiet,
)
from lib.markdown_table import markdown_table
from lib.result_files import result_path, write_results
from lib.timing import copy_bandwidth, peak_memory, time_graph, time_work

OWN_METHODS = ("grid", "permutohedral", "permutohedral-published")
DEFAULT_METHODS = ("grid", "permutohedral", *PEERS)
FRAMES = (2, 4, 8, 16, 18, 32, 64)
BESIDE = ".csv, .md and .png"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--n", type=int, nargs="+", default=list(FRAMES), help="numbers of frames")
    add("--video", type=Path, help="a video file or a folder of frames; without it: drawn frames")
    add("--size", type=int, default=224, help="side of the square frames, pixels (default: 224)")
    add("--terms", nargs="+", choices=tuple(SIGMA_XY), default=list(SIGMA_XY))
    add(
        "--methods",
        nargs="+",
        choices=(*OWN_METHODS, *PEERS),
        default=list(DEFAULT_METHODS),
        help=f"(default: {' '.join(DEFAULT_METHODS)})",
    )
    add("--seconds", type=float, default=2.0, help="for each measurement, at least 3 repeats")
    add(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long to wait, for each row, for other processes to end and measure it again",
    )
    add("--json", type=Path, metavar="FILE", help="(default: bench/results/crf_vs_n-DEVICE.json)")
    add(
        "--plot",
        action=argparse.BooleanOptionalAction,
        help="draw the figure beside it (default: where matplotlib is installed)",
    )
    add("--log", action="store_true", help="logarithmic axes in the figure")
    options = parser.parse_args(argv)
    for name, least in (("n", 1), ("size", 8)):
        value = min(options.n) if name == "n" else options.size
        if value < least:
            raise UserError(f"--{name} {value}: must be at least {least}")
    if not options.seconds > 0:
        raise UserError(f"--seconds {options.seconds:g}: must be above 0")
    if options.plot and not can_plot():
        raise UserError('--plot: needs matplotlib; pip install -e ".[plot]" brings it')
    options.n = sorted(set(options.n))
    return options


@dataclass(frozen=True)
class Subject:
    """What is measured at every n: a method on a term, and its errors on a small crop."""

    term: str
    method: str
    errors: Errors


def _run(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    device = pick_device(options.device)
    machine = describe()  # first: it notes how busy the machine is before this run
    path = result_path(options.json, f"crf_vs_n-{file_name_of(machine, device.type)}", BESIDE)
    pairs = _pairs(options, device, console)
    frames = load_frames(options.video, options.n[-1], options.size)
    console.print(frames.about, markup=False)
    bandwidth = copy_bandwidth(device)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("accuracy", total=None)
        subjects = _check_accuracy(pairs, frames, device, console)
        progress.update(bar, total=len(subjects) * len(options.n))
        rows: list[Row] = []
        try:
            for n in options.n:
                for subject in subjects:
                    progress.update(bar, description=f"n = {n}: {subject.term}, {subject.method}")
                    rows += _measure_in_quiet(subject, frames.take(n), device, bandwidth, options)
                    progress.advance(bar)
        finally:  # what was measured stands, whatever ended it
            if rows:
                _write(path, rows, machine, frames, bandwidth, options)


def _pairs(
    options: argparse.Namespace, device: torch.device, console: Console
) -> list[tuple[str, str]]:
    """What to measure: (term, method), without what does not exist or is not installed."""
    absent = {name: missing(name, device) for name in PEERS if name in options.methods}
    for line in filter(None, absent.values()):
        console.print(line, style="yellow", markup=False)
    pairs = [
        (term, method)
        for term in options.terms
        for method in dict.fromkeys(options.methods)
        if not absent.get(method) and (term, method) != ("spatial", "grid")
    ]
    if not pairs:
        raise UserError("--terms, --methods: nothing is left to measure; choose others")
    return pairs


def _check_accuracy(
    pairs: list[tuple[str, str]], frames: FrameSet, device: torch.device, console: Console
) -> list[Subject]:
    """Every pair with its errors; a peer that fails here is left out with a line."""
    images = frames.take(min(crf_accuracy.FRAMES, len(frames.frames)))
    references = {term: make_reference(term, images, device) for term, _ in pairs}
    subjects = []
    for term, method in pairs:
        try:
            subjects.append(Subject(term, method, references[term].errors(method)))
        except Exception as error:
            if method not in PEERS:  # these may fail in ways of their own, compilers among them
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            console.print(f"{method}: left out; it failed: {reason}", style="yellow", markup=False)
    return subjects


def _measure_in_quiet(
    subject: Subject,
    images: torch.Tensor,
    device: torch.device,
    bandwidth: float,
    options: argparse.Namespace,
) -> list[Row]:
    """One row, measured again while other processes disturb it: the least disturbed one.

    Waits for quiet after each disturbed try; tries no more once --wait has passed.
    """
    end = time.monotonic() + options.wait
    tries = [_measure(subject, images, device, bandwidth, options.seconds)]
    while _disturbed(tries[-1]) and time.monotonic() < end:
        wait_for_quiet(end - time.monotonic())
        tries.append(_measure(subject, images, device, bandwidth, options.seconds))
    return min(tries, key=lambda rows: [row.others_cpu_percent or 0 for row in rows])


def _disturbed(rows: list[Row]) -> list[Row]:
    """Those during which others took so much of the CPU that their times mean nothing."""
    return [row for row in rows if disturbing(row.others_cpu_percent)]


def _measure(
    subject: Subject, images: torch.Tensor, device: torch.device, bandwidth: float, seconds: float
) -> list[Row]:
    """One row; none where a peer is not tried at this size."""
    n, size = images.shape[0], images.shape[-1]
    term = make_term(subject.term, images, device, torch.float32)
    if subject.method in PEERS and not PEERS[subject.method].attempts(term):
        return []
    others = OtherProcesses()
    measured = (_measure_peer if subject.method in PEERS else _measure_own)(
        term, subject.method, device, seconds
    )
    floor = 1e3 * least_bytes(term.pixels) / bandwidth
    graph = measured["graph_ms"]
    whole = graph or measured["forward_backward_ms"]
    return [
        Row(
            n=n,
            term=subject.term,
            method=subject.method,
            **measured,
            mpixel_per_s=term.pixels / 1e3 / (graph or measured["forward_ms"]),
            floor_ms=floor,
            roofline_percent=None if whole is None else 100 * floor / whole,
            filter_error_percent=subject.errors.filtered,
            energy_error_percent=subject.errors.energy,
            published_ms=published_ms(subject.term, n, size),
            others_cpu_percent=others.percent(),
        )
    ]


def _measure_own(
    term: CrfTerm, method: str, device: torch.device, seconds: float
) -> dict[str, object]:
    """Fields of a row that are measured, for a method of `colocam.kernels`."""

    def gradient() -> torch.Tensor:
        return term.gradient(method)

    forward = time_work(lambda: lambda: term.energy(method), device, seconds)
    whole = time_work(lambda: gradient, device, seconds)
    peak = peak_memory(lambda: gradient, device)
    graph = time_graph(gradient, seconds) if device.type == "cuda" else None
    return {
        "device": device.type,
        "forward_ms": forward.median,
        "forward_min_ms": min(forward.ms),
        "forward_max_ms": max(forward.ms),
        "forward_backward_ms": whole.median,
        "graph_ms": None if graph is None else graph.median,
        "peak_mb": peak,
    }


def _measure_peer(
    term: CrfTerm, method: str, device: torch.device, seconds: float
) -> dict[str, object]:
    """The same for a peer, which has one time: of a filtering."""
    peer = PEERS[method](term)
    where = torch.device(peer.device)
    times = time_work(peer.fresh, where, seconds)
    return {
        "device": peer.device,
        "forward_ms": times.median,
        "forward_min_ms": min(times.ms),
        "forward_max_ms": max(times.ms),
        "forward_backward_ms": None,
        "graph_ms": None,
        "peak_mb": peak_memory(peer.fresh, where),
    }


def _write(
    path: Path,
    rows: list[Row],
    machine: dict[str, object],
    frames: FrameSet,
    bandwidth: float,
    options: argparse.Namespace,
) -> None:
    """JSON, CSV, Markdown and, where wanted, the figure; the table also goes to the terminal."""
    trusted = [row for row in rows if not _disturbed([row])]
    found = ratios(trusted)
    device = "cuda" if any(row.device == "cuda" for row in rows) else "cpu"
    lines = [
        f"{headline(machine, device)}, {bandwidth / 1e9:.1f} GB/s copied; "
        f"{options.size}×{options.size}, {frames.about}.",
        "",
        *markdown_table(HEADS, rows),
        "",
        *(f"- {line}" for line in ratio_lines(found)),
        *(f"- {line}" for line in _notes(rows)),
    ]
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
    write_atomic(path.with_suffix(".csv"), csv_text(rows).encode())
    if plots:
        figure = draw_figure(trusted, name_of(machine, device), options.log)
        write_atomic(path.with_suffix(".png"), figure)


def _notes(rows: list[Row]) -> list[str]:
    """What a reader of the table has to know."""
    notes = [
        "Medians. Mpixel/s is of forward. Floor: 19 bytes a pixel (colours and two maps read, two "
        "gradients written) over the copy bandwidth; the share is of forward + backward.",
        "Errors: relative L2, against every pair in float64, on the middle of two frames.",
    ]
    if any(row.graph_ms for row in rows):
        notes.append(
            "Graph: forward + backward as a CUDA graph, the GPU alone; the other two also wait for "
            "the host to launch kernels. Mpixel/s, the share of the roofline and the figure are of "
            "the graph. Small n stays in the GPU's cache from one repeat to the next."
        )
    disturbed = _disturbed(rows)
    if disturbed:
        named = ", ".join(f"n = {row.n} {row.term} {row.method}" for row in disturbed)
        notes.append(
            f"Do not trust {named}: other processes took more than {QUIET_PERCENT} % of the CPU. "
            "Ratios and figure leave these out."
        )
    if any(row.published_ms for row in rows):
        notes.append(f"Published: {PUBLISHED}.")
    if any(row.method == "pydensecrf2" for row in rows):
        notes.append(
            "pydensecrf2 runs on the CPU: lattice set-up and one filtering of two channels, its "
            "features made beforehand."
        )
    if any(row.method == "keops" for row in rows):
        notes.append("keops: every pair, one filtering, on the GPU, up to 4 frames' pairs.")
    return notes


if __name__ == "__main__":
    sys.exit(main())
