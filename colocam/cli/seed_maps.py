"""Command colocam.seed_maps: stored maps of a teacher, for --seed-maps of train.py."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from colocam.data.layouts.open import open_data
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.records import BoxedFrame, VideoData
from colocam.localization.stored_maps import frames_of
from colocam.runtime.console import make_console
from colocam.runtime.device import check_seed, make_autocast, pick_device
from colocam.runtime.entry import CommandParser, exit_status, program_name
from colocam.runtime.errors import UserError
from colocam.runtime.files import check_folder
from colocam.runtime.messages import print_note
from colocam.teachers.box_maps import BoxTeacher
from colocam.teachers.clip_maps import BACKGROUND, PROMPTS, ClipTeacher
from colocam.teachers.clip_model import load_clip
from colocam.teachers.detections import read_detections
from colocam.teachers.frame_names import FrameNames
from colocam.teachers.storing import Teacher, store_teacher_maps
from colocam.teachers.tag_words import read_words

TEACHERS = "clip:MODEL/PRETRAINED or boxes:FILE"
Words = Mapping[str, tuple[str, ...]]
_MakeTeacher = Callable[[VideoData, Sequence[BoxedFrame], Words], Teacher]
_OF_CLIP = "weights", "size", "prompt", "background"
_OF_BOXES = "boxes", "images"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        argv: arguments without the program name; None: those of the process.
    """
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("python -m colocam.seed_maps"),
        usage="%(prog)s --data DIR --out DIR --teacher TEACHER [options]",
        description="Writes maps of another model, the teacher, one file per frame, for "
        "--seed-maps of train.py and --maps of evaluate.py. Maps that are there are kept, so that "
        "the command can be interrupted.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="data folder, see train.py")
    add("--out", type=Path, required=True, metavar="DIR", help="output folder")
    add(
        "--teacher",
        required=True,
        metavar="TEACHER",
        help="clip:MODEL/PRETRAINED, names of open_clip such as clip:ViT-B-16/openai: gradients of "
        "CLIP for the name of the tag; boxes:FILE: boxes of a detector or localizer as COCO JSON, "
        "boxes.csv, or boxes.json of localize",
    )
    add(
        "--split",
        nargs="+",
        choices=("train", "val", "test"),
        default=["train"],
        help="frames that get a map: of the training videos, and those to evaluate",
    )
    add(
        "--names",
        type=Path,
        metavar="FILE",
        help="what tags are called in prompts and categories: a line tag,words each (default: the "
        "tag, with underscores as spaces)",
    )
    add("--overwrite", action="store_true", help="compute the maps in the folder anew")
    _add_data(parser.add_argument_group("data"))
    _add_teachers(parser)
    runtime = parser.add_argument_group("runtime").add_argument
    runtime("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device")
    runtime(
        "--amp",
        choices=("auto", "off", "bf16", "fp16"),
        default="auto",
        help="mixed precision; auto: bf16 if it is fast here, otherwise fp16 on a GPU",
    )
    runtime("--batch-size", type=int, default=16, metavar="N", help="frames per forward pass")
    return parser


def _add_data(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--splits",
        type=Path,
        metavar="DIR",
        help="folder of split files (default: DATA/splits, if it exists)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="--seed of the training run, which splits the videos where there are no split files",
    )
    add("--cache", type=Path, metavar="DIR", help="--cache of train.py (default: no cache)")
    add(
        "--file-order",
        choices=("natural", "name"),
        default="natural",
        help="order of the frames of a folder; natural: 2 before 10",
    )


def _add_teachers(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("teacher clip").add_argument
    add("--weights", type=Path, metavar="FILE", help="read the weights from a file")
    add(
        "--size",
        type=int,
        metavar="N",
        help="side to which frames are resized, in pixels; position embeddings are interpolated "
        "(default: that of the model)",
    )
    add(
        "--prompt",
        nargs="+",
        metavar="TEXT",
        help=f"texts with {{}} in the place of the tag's name, averaged (default: {PROMPTS[0]!r})",
    )
    add(
        "--background",
        nargs="*",
        metavar="WORD",
        help=f"names of the background (default: {', '.join(BACKGROUND[:3])} and "
        f"{len(BACKGROUND) - 3} more)",
    )
    add(
        "--refine",
        choices=("on", "off"),
        default="on",
        help="spread the maps by the attention of the last blocks",
    )
    add = parser.add_argument_group("teacher boxes").add_argument
    add("--boxes", type=Path, metavar="FILE", help="FILE of --teacher boxes")
    add(
        "--images",
        type=Path,
        metavar="FILE",
        help="COCO JSON with the images and categories of a list of results",
    )


def _run(options: argparse.Namespace) -> None:
    kind, name = _teacher_of(options)
    _check(options, kind)
    check_folder(options.out, "--out ")
    if options.out.resolve() == options.data.resolve():
        raise UserError(f"--out {options.out}: is the data folder; give another folder")
    console = make_console()
    make = (_clip if kind == "clip" else _boxes)(options, name, console)
    with console.status("opening the data"):
        data = open_data(
            options.data, options.splits, seed=options.seed, cache=options.cache,
            order=options.file_order,
        )  # fmt: skip
    for note in data.notes:
        print_note(console, note)
    records = _records(data, options)
    teacher = make(data, records, read_words(options.names, data.classes))
    store_teacher_maps(teacher, records, options.out, overwrite=options.overwrite, console=console)


def _teacher_of(options: argparse.Namespace) -> tuple[str, str]:
    """Kind of the teacher, and the name of its model or file."""
    kind, _, name = options.teacher.partition(":")
    if kind not in ("clip", "boxes"):
        raise UserError(f"--teacher {options.teacher}: unknown teacher; give {TEACHERS}")
    if kind == "boxes" and options.boxes is not None:
        if name:
            raise UserError("--boxes: the file is named by --teacher, too; omit one of them")
        name = str(options.boxes)
    if not name:
        raise UserError(f"--teacher {options.teacher}: names nothing; give {TEACHERS}")
    return kind, name


def _check(options: argparse.Namespace, kind: str) -> None:
    check_seed("--seed", options.seed)
    for option in _OF_BOXES if kind == "clip" else _OF_CLIP:
        if getattr(options, option) is not None:
            raise UserError(f"--{option}: is not used by --teacher {kind}:…; omit it")
    for option, value in (("--batch-size", options.batch_size), ("--size", options.size)):
        if value is not None and value < 1:
            raise UserError(f"{option} {value}: must be at least 1")
    for prompt in options.prompt or ():
        if "{}" not in prompt:
            raise UserError(f"--prompt {prompt!r}: needs {{}} in the place of the tag's name")


def _records(data: VideoData, options: argparse.Namespace) -> list[BoxedFrame]:
    """Frames of the splits, each once."""
    records: dict[Path, BoxedFrame] = {}
    maps = SeedMaps(options.out)
    for split in dict.fromkeys(options.split):
        of_split = list(frames_of(data.train)) if split == "train" else getattr(data, split)
        if not of_split:
            raise UserError(f"{options.data}: no frame in split {split!r}")
        records |= {maps.path(one.frames, one.index): one for one in of_split}
    return list(records.values())


def _clip(options: argparse.Namespace, name: str, console: Console) -> _MakeTeacher:
    """Loads CLIP; the data, which it needs, is opened later."""
    device = pick_device(options.device)
    with console.status("loading CLIP"):
        clip = load_clip(name, options.weights, options.size)

    def make(data: VideoData, _: Sequence[BoxedFrame], words: Words) -> Teacher:
        return ClipTeacher(
            clip, data.classes, words,
            prompts=options.prompt or PROMPTS,
            background=BACKGROUND if options.background is None else options.background,
            refine=options.refine == "on", device=device,
            autocast=make_autocast(options.amp, device), batch_size=options.batch_size,
        )  # fmt: skip

    return make


def _boxes(options: argparse.Namespace, name: str, console: Console) -> _MakeTeacher:
    """Reads the boxes; the data, which they belong to, is opened later."""
    detections = read_detections(Path(name), options.images, options.data)

    def make(data: VideoData, records: Sequence[BoxedFrame], words: Words) -> Teacher:
        teacher = BoxTeacher(
            detections, data.classes, words, records, FrameNames(options.file_order)
        )
        for note in teacher.notes:
            print_note(console, note)
        return teacher

    return make
