"""Rows of bench/crf_vs_n.py: what stands in them, as CSV, and as the papers' Fig. 2d."""

import csv
import importlib.util
import io
from dataclasses import asdict, dataclass, fields

PUBLISHED_N, PUBLISHED_SIZE, PUBLISHED_MS = 64, 224, 80.0
PUBLISHED = "CoLo-CAM paper: about 80 ms, Tesla P100 and a 48-core Xeon"
RATIO = (64, 16)


@dataclass(frozen=True)
class Row:
    """One method on one term at one n. None: not measured, or does not exist.

    Attributes:
        n: frames.
        term: "joint" or "spatial".
        method: of `colocam.kernels`, or a peer's name.
        device: where it computed.
        forward_ms: median time of the energy; of a peer, of one filtering.
        forward_min_ms, forward_max_ms: fastest and slowest repeat.
        forward_backward_ms: median time of energy and gradient.
        graph_ms: the same, replayed as a CUDA graph.
        peak_mb: peak memory of forward and backward, 10^6 bytes.
        mpixel_per_s: pixels over `shown_ms`, 10^6 a second.
        floor_ms: least bytes over the machine's copy bandwidth.
        roofline_percent: the floor's share of graph_ms, or of the forward + backward time.
        filter_error_percent, energy_error_percent: relative L2 errors on a small crop.
        published_ms: forward.
        others_cpu_percent: share of the CPU that other processes took meanwhile.
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
    def shown_ms(self) -> float:
        """In the figure: graph_ms where there is one, as the host does not slow it down; else
        forward_ms."""
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
    "roofline_percent": "share of roofline %",
    "filter_error_percent": "filter error %",
    "energy_error_percent": "energy error %",
    "published_ms": "published ms",
}


def published_ms(term: str, n: int, size: int) -> float | None:
    """The paper's time, beside the one case that it gives."""
    known = (term, n, size) == ("joint", PUBLISHED_N, PUBLISHED_SIZE)
    return PUBLISHED_MS if known else None


def ratios(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    """t(64) / t(16) by "term method", where both were measured; 4 is linear in n."""
    by_key = {(row.term, row.method, row.n): row for row in rows}
    found = {}
    for (term, method, n), large in by_key.items():
        small = by_key.get((term, method, RATIO[1]))
        if n != RATIO[0] or small is None:
            continue
        both = large.forward_backward_ms and small.forward_backward_ms
        graphs = large.graph_ms and small.graph_ms
        found[f"{term} {method}"] = {
            "forward": large.forward_ms / small.forward_ms,
            "forward_backward": (
                large.forward_backward_ms / small.forward_backward_ms if both else None
            ),
            "graph": large.graph_ms / small.graph_ms if graphs else None,
        }
    return found


def ratio_lines(found: dict[str, dict[str, float | None]]) -> list[str]:
    """The ratios as a line each."""
    lines = []
    for name, ratio in found.items():
        line = f"t({RATIO[0]}) / t({RATIO[1]}), {name}: forward {ratio['forward']:.2f}"
        if ratio["forward_backward"] is not None:
            line += f", forward + backward {ratio['forward_backward']:.2f}"
        if ratio["graph"] is not None:
            line += f", as a graph {ratio['graph']:.2f}"
        lines.append(line)
    return lines


def csv_text(rows: list[Row]) -> str:
    """Every field of every row; an empty cell where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_figure(rows: list[Row], title: str, log: bool) -> bytes:
    """Fig. 2d, time against n, a line a term and method: a PNG."""
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
