"""One trained row with one seed: a folder that is filled once, and shared by all that need it."""

import json
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from colocam.cam import ActivationMap
from colocam.cli.options import parse_config
from colocam.data.layouts.builtin import builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import read_split, write_split
from colocam.evaluation.evaluate import evaluate
from colocam.models.checkpoint import load_checkpoint
from colocam.report.report import Report, report_frames
from colocam.runtime.device import make_autocast, pick_device
from colocam.runtime.errors import UserError
from colocam.training.config import Config
from lib.machine import commit_name
from lib.paper.runs import train
from lib.paper.tables import Options, Row

BEST = ("classifier-best-classification", "classifier-best-localization")


@dataclass(frozen=True)
class Ground:
    """What all cells have in common.

    Attributes:
        folder: of their folders.
        data, splits: as train.py takes them; None: the built-in clip set.
        options: of every run, both stages.
        threads: of each run where others go on beside it (see `paper_runs.train`).
    """

    folder: Path
    data: Path | None
    splits: Path | None
    options: Options
    threads: int | None = None

    def arguments(self, seed: int, out: Path, *more: Options) -> list[str]:
        """Of train.py."""
        given = {"data": self.data, "splits": self.splits, **self.options}
        for options in more:
            given |= options
        given |= {"seed": seed, "out": out}
        flags = [(f"--{name}", str(value)) for name, value in given.items() if value is not None]
        return [part for pair in flags for part in pair]

    @cached_property
    def config(self) -> Config:
        """What a run without further options does."""
        return parse_config(self.arguments(0, self.folder), torch.cuda.is_available())

    def changes(self, options: Options) -> dict[str, object]:
        """Those of the options that change anything."""
        return {
            name: value
            for name, value in options.items()
            if getattr(self.config, name.replace("-", "_")) != value
        }

    def options_of(self, row: Row) -> Options:
        """Of stage 2 of a row."""
        options = dict(row.options or {})
        if row.longer > 1:
            for name in ("epochs", "decay-every", "evaluate-every"):
                options[name] = row.longer * getattr(self.config, name.replace("-", "_"))
        return options

    def data_folder(self) -> Path:
        """Where the data lies."""
        if self.data is not None:
            return self.data
        return builtin_folder(self.config.clip_set, self.config.clip_seed)


@dataclass(frozen=True)
class Cell:
    """A row of a table with one seed."""

    ground: Ground
    row: Row
    seed: int

    @property
    def classifier(self) -> Path:
        """Run folder of stage 1, shared by all cells with its options and seed."""
        return self._folder("classifier", self.row.classifier)

    @property
    def folder(self) -> Path:
        """Of the cell: the same for the same options, whichever table they stand in."""
        if self.row.options is None:
            return self._folder(self.row.cam, self.row.classifier)
        marks = {"left-out": self.row.left_out} if self.row.left_out else {}
        options = {**self.row.classifier, **self.ground.options_of(self.row)}
        return self._folder("localizer", options, marks)

    def _folder(self, kind: str, options: Options, marks: Options | None = None) -> Path:
        named = sorted(({**self.ground.changes(options), **(marks or {})}).items())
        parts = [f"seed{self.seed}", kind, *(f"{name}={value}" for name, value in named)]
        return self.ground.folder / "_".join(parts)

    @property
    def done(self) -> bool:
        """Whether its numbers stand."""
        return (self.folder / "report" / "evaluation.json").is_file()

    @property
    def commit(self) -> str:
        """That of the code which finished it."""
        path = self.folder / "commit"
        return path.read_text() if path.is_file() else "unknown"

    @property
    def has_classifier(self) -> bool:
        """Whether stage 1 stands."""
        return (self.classifier / "report" / "evaluation.json").is_file()

    def train_classifier(self) -> None:
        """Stage 1, from where an earlier run was stopped.

        Raises:
            UserError: the training run failed.
        """
        arguments = self.ground.arguments(self.seed, self.classifier, self.row.classifier)
        self._train(self.classifier, [*arguments, "--stage", "classifier"])

    def _train(self, folder: Path, arguments: list[str]) -> None:
        train(arguments, self.ground.threads, folder.with_name(f"{folder.name}.log"))

    def numbers(self) -> dict[str, float | None]:
        """CorLoc at IoU 0.5 in %: published protocol, one threshold, and on validation; and the
        share of training frames, in %, in videos whose maps had gone to one side in the end.
        """
        summary = json.loads((self.folder / "report" / "evaluation.json").read_text())
        honest = summary["corloc_honest"]
        of_test = {
            "corloc": summary["corloc"]["0.5"],
            "corloc_honest": honest and honest["0.5"],
        }
        chosen = self.folder / "validation.json"
        if chosen.is_file():
            score = json.loads(chosen.read_text())["corloc"]
            return {**of_test, "validation": score, "one_sided": None}
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        lines = [line for line in lines if line["stage"] == "localizer"]
        scores = [line["localization"] for line in lines if "localization" in line]
        # The best epoch on validation is what chose the checkpoint.
        return {
            **of_test, "validation": max(scores), "one_sided": 100 * lines[-1]["one_sided"],
        }  # fmt: skip

    def train_localizer(self) -> None:
        """Stage 2, from where an earlier run was stopped; stage 1 stands.

        Raises:
            UserError: the training run failed.
        """
        checkpoints = self.folder / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        for name in BEST:
            target = checkpoints / f"{name}.safetensors"
            if not target.exists():
                shutil.copy(self.classifier / "checkpoints" / target.name, target)
        more: dict[str, object] = {}
        if self.row.left_out:
            more["splits"] = self._fewer_shots()
            more["data"] = self.ground.data_folder()
            more["preset"] = self.ground.config.preset  # with data it would be another
        arguments = self.ground.arguments(
            self.seed, self.folder, self.row.classifier, self.ground.options_of(self.row), more
        )
        self._train(self.folder, [*arguments, "--stage", "localizer"])
        (self.folder / "commit").write_text(commit_name())

    def _fewer_shots(self) -> Path:
        """Split files without some training shots of each class; the same for the same seed."""
        source = self.ground.splits or self.ground.data_folder() / "splits"
        if not (source / "train").is_dir():
            raise UserError(f"{source}: no split files there; write them (prepare splits) first")
        target = self.folder / "splits"
        shutil.copytree(source, target, dirs_exist_ok=True)
        shots = read_split(source / "train")
        by_class: dict[int, list[str]] = {}
        for shot in shots:
            by_class.setdefault(shot.label, []).append(shot.id)
        rng = np.random.default_rng([self.seed, self.row.left_out])
        gone: set[str] = set()
        for names in by_class.values():
            if len(names) <= self.row.left_out:
                raise UserError(
                    f"{source}: {len(names)} training shots of a class, too few to leave "
                    f"{self.row.left_out} out"
                )
            gone.update(rng.choice(names, self.row.left_out, replace=False).tolist())
        write_split(target / "train", [shot for shot in shots if shot.id not in gone])
        return target

    def evaluate_map(self) -> None:
        """The activation map of the classifier of stage 1; its threshold chosen on validation."""
        model, info = load_checkpoint(self.classifier / "checkpoints" / f"{BEST[1]}.safetensors")
        device = pick_device("auto")
        model = model.to(device, memory_format=torch.channels_last)
        data = open_data(self.ground.data_folder(), self.ground.splits, seed=self.seed)
        place = {"device": device, "autocast": make_autocast("auto", device)}
        on_validation = evaluate(
            model, data.val, data.classes, side=info.size, cam=ActivationMap(model, self.row.cam),
            decode=False, **place,
        ).seed_cam  # fmt: skip
        chosen = {
            "corloc": on_validation.summary()["corloc"]["0.5"],
            "threshold": on_validation.best_threshold(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "validation.json").write_text(json.dumps(chosen) + "\n")
        report_frames(
            model, replace(info, cam=self.row.cam, cam_threshold=chosen["threshold"]), data.test,
            Report(self.row.name, self.folder / "report", self.row.name),
            console=Console(stderr=True, quiet=True), **place,
        )  # fmt: skip
        (self.folder / "commit").write_text(commit_name())
