"""Trials: a row of a table trained with one seed, in a run folder shared by all tables."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from rich.console import Console

from lib.machine import commit_name
from lib.paper.runs import train
from lib.paper.tables import Options, Row
from lib.paper.teaching import write_maps_of_boxes

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
from colocam.training.config import PER_FRAME, Config, value_type
from colocam.training.config.stored import read_options

# Options that change results.
RESULT_OPTIONS = {option.name for option in fields(Config) if value_type(option) is not Path} - {
    "stage",
    "preset",
    "device",
    "workers",
    "cache_size",
    "keep",
    "tensorboard",
    "state_every",
}
BEST = ("classifier-best-classification", "classifier-best-localization")


class Scores(TypedDict):
    """Results of a trial in %.

    Attributes:
        corloc: on test, published protocol, IoU 0.5.
        corloc_honest: on test, one threshold chosen on validation; None without one.
        validation: CorLoc on validation, of the selected checkpoint.
        one_sided: share of training frames in videos whose maps are one-sided in the last epoch;
            None without stage 2.
    """

    corloc: float
    corloc_honest: float | None
    validation: float
    one_sided: float | None


@dataclass(frozen=True)
class Experiment:
    """Settings shared by all trials.

    Attributes:
        folder: parent of the run folders.
        data, splits: as for train.py; None: the built-in clip set.
        options: of every run, both stages.
        threads: of each of several parallel runs (see `lib.paper.runs.train`).
    """

    folder: Path
    data: Path | None
    splits: Path | None
    options: Options
    threads: int | None = None

    def arguments(self, seed: int, out: Path, *more: Options) -> list[str]:
        """Arguments of train.py.

        Args:
            seed: of the run.
            out: run folder.
            more: further options; later ones take precedence.
        """
        given = {"data": self.data, "splits": self.splits, **self.options}
        for options in more:
            given |= options
        given |= {"seed": seed, "out": out}
        flags = [(f"--{name}", str(value)) for name, value in given.items() if value is not None]
        return [part for pair in flags for part in pair]

    @cached_property
    def config(self) -> Config:
        """Configuration of a run without further options."""
        return parse_config(self.arguments(0, self.folder), torch.cuda.is_available())

    def changes(self, options: Options) -> dict[str, object]:
        """Options that differ from `config`."""
        return {
            name: value
            for name, value in options.items()
            if getattr(self.config, name.replace("-", "_")) != value
        }

    def options_of(self, row: Row) -> Options:
        """Options of stage 2 of a row."""
        options = dict(row.options or {})
        if row.epochs_factor > 1:
            for name in ("epochs", "decay-every", "evaluate-every"):
                options[name] = row.epochs_factor * getattr(self.config, name.replace("-", "_"))
        return options

    def data_folder(self) -> Path:
        """Data folder; the built-in clip set is generated if missing."""
        if self.data is not None:
            return self.data
        return builtin_folder(self.config.clip_set, self.config.clip_seed)


def best_score(records: Sequence[Mapping[str, Any]]) -> float:
    """CorLoc on validation of the best epoch, which selects the checkpoint."""
    return max(record["localization"] for record in records if "localization" in record)


def honest_corloc(summary: Mapping[str, Any]) -> float | None:
    """CorLoc with one threshold at IoU 0.5; None without a threshold."""
    honest = summary["corloc_honest"]
    return None if honest is None else honest["0.5"]


@dataclass(frozen=True)
class Trial:
    """A row of a table with one seed."""

    experiment: Experiment
    row: Row
    seed: int

    @property
    def classifier(self) -> Path:
        """Run folder of stage 1, shared by all trials with its options and seed."""
        return self._folder("classifier", self.row.classifier)

    @property
    def folder(self) -> Path:
        """Run folder of the trial, shared by all tables with its options and seed."""
        if self.row.options is None:
            return self._folder(self.row.cam, self.row.classifier)
        marks: dict[str, object] = {"taught": "boxes"} if self.row.taught else {}
        if self.row.excluded_shots:
            marks["left-out"] = self.row.excluded_shots
        options = {**self.row.classifier, **self.experiment.options_of(self.row)}
        return self._folder("localizer", options, marks)

    def _folder(self, kind: str, options: Options, marks: Options | None = None) -> Path:
        named = sorted(({**self.experiment.changes(options), **(marks or {})}).items())
        parts = [f"seed{self.seed}", kind, *(f"{name}={value}" for name, value in named)]
        return self.experiment.folder / "_".join(parts)

    @property
    def options(self) -> Options:
        """Options of stage 2."""
        return self.experiment.options_of(self.row)

    @property
    def done(self) -> bool:
        """Whether the trial is evaluated."""
        return self._is_evaluated(self.folder, self.options)

    @property
    def commit(self) -> str:
        """Commit of the code that finished the trial."""
        path = self.folder / "commit"
        return path.read_text() if path.is_file() else "unknown"

    @property
    def has_classifier(self) -> bool:
        """Whether stage 1 is finished."""
        return self._is_evaluated(self.classifier, {})

    def _is_evaluated(self, folder: Path, options: Options) -> bool:
        """Whether a run is evaluated, which must have had the options that it would have now.

        Args:
            folder: of the run.
            options: of its stage 2.

        Raises:
            UserError: it had others, as those of a preset of an earlier version.
        """
        if not (folder / "report" / "evaluation.json").is_file():
            return False
        stored = folder / "config.json"
        if not stored.is_file():
            return True
        arguments = self.experiment.arguments(self.seed, folder, self.row.classifier, options)
        now = parse_config(arguments, torch.cuda.is_available())
        without_joint_term = folder == self.classifier or now.method in PER_FRAME
        for name, then in read_options(stored).items():
            if without_joint_term and name.startswith(("coloc_", "joint_")):
                continue
            if name in RESULT_OPTIONS and then != getattr(now, name):
                raise UserError(
                    f"{folder}: was trained with {name} {then}, not {getattr(now, name)}; give "
                    "another folder as --runs"
                )
        return True

    def train_classifier(self) -> None:
        """Trains stage 1; resumes an interrupted run.

        Raises:
            UserError: the training run failed.
        """
        arguments = self.experiment.arguments(self.seed, self.classifier, self.row.classifier)
        self._train(self.classifier, [*arguments, "--stage", "classifier"])
        (self.classifier / "commit").write_text(commit_name())

    def _train(self, folder: Path, arguments: list[str]) -> None:
        train(arguments, self.experiment.threads, folder.with_name(f"{folder.name}.log"))

    def summary(self) -> dict[str, Any]:
        """Reads the evaluation of a finished trial, see `CorLoc.summary`."""
        text = (self.folder / "report" / "evaluation.json").read_text()
        summary: dict[str, Any] = json.loads(text)
        return summary

    def scores(self) -> Scores:
        """Reads the results of a finished trial."""
        summary = self.summary()
        validation, one_sided = self._validation()
        return {
            "corloc": summary["corloc"]["0.5"],
            "corloc_honest": honest_corloc(summary),
            "validation": validation,
            "one_sided": one_sided,
        }

    def _validation(self) -> tuple[float, float | None]:
        """CorLoc on validation, and the share of one-sided frames."""
        of_map = self.folder / "validation.json"
        if of_map.is_file():
            return json.loads(of_map.read_text())["corloc"], None
        records = self.log("localizer")
        return best_score(records), 100 * records[-1]["one_sided"]

    def log(self, stage: str) -> list[dict[str, Any]]:
        """Reads the entries of a stage in the log of the trial."""
        return [
            record
            for line in (self.folder / "metrics.jsonl").read_text().splitlines()
            if (record := json.loads(line))["stage"] == stage
        ]

    def train_localizer(self) -> None:
        """Trains stage 2 from a finished stage 1; resumes an interrupted run.

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
        if self.row.excluded_shots:
            more["splits"] = self._write_reduced_splits()
            more["data"] = self.experiment.data_folder()
            more["preset"] = self.experiment.config.preset  # the default with data differs
        if self.row.taught:
            more["seed-maps"] = self._maps_of_teacher()
        arguments = self.experiment.arguments(
            self.seed, self.folder, self.row.classifier, self.options, more
        )
        self._train(self.folder, [*arguments, "--stage", "localizer"])
        (self.folder / "commit").write_text(commit_name())

    def _maps_of_teacher(self) -> Path:
        """Writes the maps of a taught trial; trains its teacher first, unless that is done."""
        teacher = replace(self, row=replace(self.row, taught=False))
        if not teacher.done:
            teacher.train_localizer()
        return write_maps_of_boxes(
            (teacher.folder / "checkpoints" / "localizer-best.safetensors").resolve(),
            self.experiment.data_folder().resolve(),
            self.experiment.splits and self.experiment.splits.resolve(),
            self.seed,
            self.folder.with_name(f"{self.folder.name}-teacher").resolve(),
        )

    def _write_reduced_splits(self) -> Path:
        """Writes split files without some training shots of each class, drawn from the seed."""
        source = self.experiment.splits or self.experiment.data_folder() / "splits"
        if not (source / "train").is_dir():
            raise UserError(f"{source}: no split files there; write them (prepare splits) first")
        target = self.folder / "splits"
        shutil.copytree(source, target, dirs_exist_ok=True)
        shots = read_split(source / "train")
        by_class: dict[int, list[str]] = {}
        for shot in shots:
            by_class.setdefault(shot.label, []).append(shot.id)
        count = self.row.excluded_shots
        rng = np.random.default_rng([self.seed, count])
        excluded: set[str] = set()
        for names in by_class.values():
            if len(names) <= count:
                raise UserError(
                    f"{source}: {len(names)} training shots of a class, too few to exclude {count}"
                )
            excluded.update(rng.choice(names, count, replace=False).tolist())
        write_split(target / "train", [shot for shot in shots if shot.id not in excluded])
        return target

    def evaluate_map(self) -> None:
        """Evaluates the activation map of the classifier, with the threshold of validation."""
        model, info = load_checkpoint(self.classifier / "checkpoints" / f"{BEST[1]}.safetensors")
        device = pick_device("auto")
        autocast = make_autocast(self.experiment.config.amp, device)
        model = model.to(device).to(memory_format=torch.channels_last)
        data = open_data(self.experiment.data_folder(), self.experiment.splits, seed=self.seed)
        on_validation = evaluate(
            model,
            data.val,
            data.classes,
            side=info.size,
            cam=ActivationMap(model, self.row.cam),
            device=device,
            decode=False,
            autocast=autocast,
        ).seed_cam
        chosen = {
            "corloc": on_validation.summary()["corloc"]["0.5"],
            "threshold": on_validation.best_threshold(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "validation.json").write_text(json.dumps(chosen) + "\n")
        report_frames(
            model,
            replace(info, cam=self.row.cam, cam_threshold=chosen["threshold"]),
            data.test,
            Report(self.row.name, self.folder / "report", self.row.name),
            device=device,
            autocast=autocast,
            console=Console(stderr=True, quiet=True),
        )
        (self.folder / "commit").write_text(commit_name())
