"""Option --report of the command that localizes videos."""

import argparse
from pathlib import Path

from colocam.cli.box_options import min_area
from colocam.evaluation.boxes import threshold_or_default
from colocam.localization.inference import VideoLocalizer
from colocam.report.video import VideoReport


def add_report(group: argparse._ActionsContainer) -> None:
    """Adds --report to a group of options."""
    group.add_argument(
        "--report",
        action="store_true",
        help="write a page per video, NAME.html: score, class and box over time, stretches without "
        "a box, and the frames around jumps of the box",
    )


def make_report(
    options: argparse.Namespace, localizer: VideoLocalizer, video: Path
) -> VideoReport | None:
    """Report of a video; None without --report."""
    if not options.report:
        return None
    info, area = localizer.info, min_area(options)
    values = {
        "encoder": info.encoder,
        "input size": f"{info.size} × {info.size}",
        "classes": ", ".join(info.classes),
        "threshold of the score map": f"{threshold_or_default(info.threshold):.3g}",
        "--class": options.class_name,
        "--boxes": options.boxes,
        "--min-area": area,
        "--smooth": options.smooth,
        "--refine": options.refine,
        "--empty-over": options.empty_over,
    }
    shown = {name: "-" if value is None else value for name, value in values.items()}
    lead = f"{video}, localized with {options.ckpt}."
    name = video.resolve().name
    return VideoReport(
        name, lead, shown, tracks=options.boxes == "all", empty_over=options.empty_over
    )
