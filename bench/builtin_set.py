"""How much CoLo-CAM gains over its seed CAM on the built-in clip set: train.py, several seeds.

    python bench/builtin_set.py [--seeds 0 1 2] [--json FILE] [-- further options of train.py]

Every run is a fresh `python train.py --seed N`. Reported is what it reports: CorLoc at IoU 0.5 on
the test split by the published protocol, and by one threshold chosen on validation.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/builtin_set.json")
    parser.add_argument("options", nargs="*", help="further options of train.py, after --")
    arguments = parser.parse_args()
    machine = describe()  # of the code that runs, before the results change the tree
    runs = [run(seed, arguments.options) for seed in arguments.seeds]
    lines = table(runs)
    print("\n".join(lines))
    result = {"machine": machine, "options": arguments.options, "runs": runs}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    arguments.json.with_suffix(".md").write_text("\n".join(lines) + "\n")


def run(seed: int, options: list[str]) -> dict[str, object]:
    """One training run; its numbers."""
    out = Path("runs") / f"builtin-set-seed-{seed}"
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "train.py"), "--seed", str(seed), "--out", str(out)]
    subprocess.run([*command, *options], check=True)
    summary = json.loads((out / "report" / "evaluation.json").read_text())
    baseline = summary["baseline"]
    return {
        "seed": seed,
        "minutes": round((time.perf_counter() - start) / 60, 2),
        "seed_cam": baseline["corloc"]["0.5"],
        "colocam": summary["corloc"]["0.5"],
        "seed_cam_one_threshold": baseline["corloc_honest"]["0.5"],
        "colocam_one_threshold": summary["corloc_honest"]["0.5"],
        "seed_cam_validation": _last(out / "metrics.jsonl", "seed_cam"),
        "classification": summary["classification_accuracy"],
        "evaluation": summary,
    }


def _last(metrics: Path, name: str) -> float:
    """The last value that a metrics log gives of `name`."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [line[name] for line in lines if name in line][-1]


def table(runs: list[dict[str, object]]) -> list[str]:
    """A Markdown table of the runs and their mean."""
    columns = (
        "seed_cam", "colocam", "seed_cam_one_threshold", "colocam_one_threshold", "minutes",
    )  # fmt: skip
    lines = [
        "| seed | seed CAM | CoLo-CAM | gain | seed CAM, one τ | CoLo-CAM, one τ | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    means = {name: statistics.mean(float(run[name]) for run in runs) for name in columns}
    for row in [*runs, {"seed": "mean", **means}]:
        cam, colocam, cam_one, colocam_one, minutes = (float(row[name]) for name in columns)
        lines.append(
            f"| {row['seed']} | {cam:.1f} | {colocam:.1f} | {colocam - cam:+.1f} "
            f"| {cam_one:.1f} | {colocam_one:.1f} | {minutes:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
