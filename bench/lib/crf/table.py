"""Results of bench/crf_vs_n.py: rows, ratios, notes, CSV, and the figure (Fig. 2d)."""

import csv
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from lib.machine import MAX_OTHERS_PERCENT, is_disturbed

PUBLISHED_N, PUBLISHED_SIZE, PUBLISHED_MS = 64, 224, 80.0
PUBLISHED = "CoLo-CAM paper: about 80 ms, Tesla P100 and a 48-core Xeon"
RATIO = (64, 16)


@dataclass(frozen=True)
class Row:
    """One method on one term at one n. None: not measured or not available.

    Attributes:
        n: frames.
        term: "joint" or "spatial".
        method: of `colocam.kernels`, or another package (`PEERS`).
        device: "cpu" or "cuda".
        forward_ms: median time of the energy; of another package, of one filtering.
        forward_min_ms, forward_max_ms: fastest and slowest repeat.
        forward_backward_ms: median time of energy and gradient.
        graph_ms: median time of energy and gradient as a CUDA graph.
        peak_mb: peak memory of forward and backward, 10^6 bytes.
        mpixel_per_s: pixels over `shown_ms`, 10^6 per second.
        floor_ms: lower bound: `least_bytes` over the copy bandwidth.
        roofline_percent: floor_ms over graph_ms, or over forward_backward_ms.
        filter_error_percent, energy_error_percent: relative L2 errors on a small crop.
        published_ms: forward time in the paper.
        others_cpu_percent: CPU use of other processes during the measurement.
    """

    n: int
    term: str
    method: str
    device: str
    forward_ms: float
    forward_min_ms: float
    forward_max_ms: float
    forward_backward_ms: float | None
    graph_ms: float | None
    peak_mb: float | None
    mpixel_per_s: float
    floor_ms: float
    roofline_percent: float | None
    filter_error_percent: float
    energy_error_percent: float
    published_ms: float | None
    others_cpu_percent: float | None

    @property
    def disturbed(self) -> bool:
        """Whether other processes make the row invalid."""
        return is_disturbed(self.others_cpu_percent)

    @property
    def shown_ms(self) -> float:
        """Time in the figure: graph_ms, which excludes launch overhead; else forward_ms."""
        return self.graph_ms or self.forward_ms


HEADS = {
    "n": "n",
    "term": "term",
    "method": "method",
    "forward_ms": "forward ms",
    "forward_backward_ms": "forward + backward ms",
    "graph_ms": "graph ms",
    "peak_mb": "peak MB",
    "mpixel_per_s": "Mpixel/s",
    "floor_ms": "floor ms",
    "roofline_percent": "% of roofline",
    "filter_error_percent": "filter error %",
    "energy_error_percent": "energy error %",
    "published_ms": "published ms",
}


def published_ms(term: str, n: int, size: int) -> float | None:
    """Time in the paper, which gives one case."""
    known = (term, n, size) == ("joint", PUBLISHED_N, PUBLISHED_SIZE)
    return PUBLISHED_MS if known else None


def ratios(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    """t(64) / t(16) by "term method", where both are measured; 4 is linear in n."""
    by_key = {(row.term, row.method, row.n): row for row in rows}
    found = {}
    for (term, method, n), large in by_key.items():
        small = by_key.get((term, method, RATIO[1]))
        if n != RATIO[0] or small is None:
            continue
        found[f"{term} {method}"] = {
            "forward": large.forward_ms / small.forward_ms,
            "forward_backward": _ratio(large.forward_backward_ms, small.forward_backward_ms),
            "graph": _ratio(large.graph_ms, small.graph_ms),
        }
    return found


def _ratio(large: float | None, small: float | None) -> float | None:
    return large / small if large and small else None


def ratio_lines(found: dict[str, dict[str, float | None]]) -> list[str]:
    """Ratios as text, one line each."""
    lines = []
    for name, ratio in found.items():
        line = f"t({RATIO[0]}) / t({RATIO[1]}), {name}: forward {ratio['forward']:.2f}"
        if ratio["forward_backward"] is not None:
            line += f", forward + backward {ratio['forward_backward']:.2f}"
        if ratio["graph"] is not None:
            line += f", as a graph {ratio['graph']:.2f}"
        lines.append(line)
    return lines


def notes(rows: Sequence[Row]) -> list[str]:
    """Notes below the table."""
    lines = [
        "Medians. Mpixel/s refers to forward. Floor: 19 bytes per pixel (colours and two maps "
        "read, two gradients written) over the copy bandwidth; % of roofline refers to forward + "
        "backward.",
        "Errors: relative L2, to the sum over all pairs in float64, on the centre of two frames.",
    ]
    if any(row.graph_ms for row in rows):
        lines.append(
            "Graph: forward + backward as a CUDA graph, without launch overhead; the other two "
            "times include it. Mpixel/s, % of roofline and the figure refer to the graph. For "
            "small n the data stays in the GPU's cache between repeats."
        )
    disturbed = [row for row in rows if row.disturbed]
    if disturbed:
        named = ", ".join(f"n = {row.n} {row.term} {row.method}" for row in disturbed)
        lines.append(
            f"Invalid rows: {named}: other processes used more than {MAX_OTHERS_PERCENT} % of the "
            "CPU. Ratios and figure skip these."
        )
    if any(row.published_ms for row in rows):
        lines.append(f"Published: {PUBLISHED}.")
    if any(row.method == "pydensecrf2" for row in rows):
        lines.append(
            "pydensecrf2 runs on the CPU: lattice construction and one filtering of two channels; "
            "its features are computed beforehand."
        )
    if any(row.method == "keops" for row in rows):
        lines.append("keops: one filtering over all pairs on the GPU, up to the pairs of 4 frames.")
    return lines


def csv_text(rows: list[Row]) -> str:
    """Rows as CSV, with every field; None as an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_figure(rows: list[Row], title: str, log: bool) -> bytes:
    """Draws time against n as in Fig. 2d, one line per term and method.

    Args:
        rows: to draw.
        title: of the figure.
        log: logarithmic axes.

    Returns:
        PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for term, method in dict.fromkeys((row.term, row.method) for row in rows):
        line = [row for row in rows if (row.term, row.method) == (term, method)]
        axes.plot(
            [row.n for row in line],
            [row.shown_ms for row in line],
            marker="o",
            markersize=3,
            linestyle="-" if term == "joint" else "--",
            label=f"{term}, {method}",
        )
    if any(row.published_ms for row in rows):
        axes.plot(PUBLISHED_N, PUBLISHED_MS, "k*", markersize=10, label=PUBLISHED)
    if log:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
    graphs = any(row.graph_ms for row in rows)
    label = "forward + backward as a CUDA graph, ms" if graphs else "forward ms"
    axes.set(xlabel="frames n", ylabel=label, title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
