"""A run: its configuration, data, device, processes and folder, and how it is opened."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from colocam.cam import ActivationMap
from colocam.data.layouts.builtin import builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.layouts.stored_split import StoredSplit
from colocam.data.loading.cache import FrameCache
from colocam.data.loading.loader import SequenceLoader, full_batch
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.loading.sequence_dataset import SequenceSettings
from colocam.data.records import BoxedFrame, VideoData
from colocam.evaluation.contour_workers import useful_processes
from colocam.evaluation.evaluate import BATCH_SIZE, Evaluation, evaluate
from colocam.models import Localizer
from colocam.runtime.console import make_console
from colocam.runtime.device import Autocast, make_autocast, pick_device
from colocam.runtime.distribution import Ranks
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of, print_note
from colocam.training.compilation import compile_full_batches
from colocam.training.config import END_TO_END, Config
from colocam.training.metrics import Metrics
from colocam.training.update import Update


@dataclass(frozen=True)
class Run:
    """Environment of a run, shared by its stages.

    Attributes:
        config: configuration.
        data: classes, training shots, validation and test frames.
        out: run folder.
        device: device of the computation.
        autocast: makes contexts of mixed precision.
        metrics: log `metrics.jsonl`.
        console: prints progress; quiet on all ranks except rank 0.
        ranks: processes of the run.
        seed_maps: stored maps that the seeds are drawn from; None: activation maps.
        cache: cache of resized frames; None: frames are decoded at every draw.
        split: stored split of the run, for its folder and its checkpoints; on rank 0.
    """

    config: Config
    data: VideoData
    out: Path
    device: torch.device
    autocast: Autocast
    metrics: Metrics
    console: Console
    ranks: Ranks
    seed_maps: SeedMaps | None = None
    cache: FrameCache | None = None
    split: dict[str, dict[str, str]] | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.out / "checkpoints"

    def checkpoint(self, name: str) -> Path:
        """Returns the path of the checkpoint `name`."""
        return self.checkpoints / f"{name}.safetensors"

    def loader(self, frames: int, batch_size: int, maps: SeedMaps | None = None) -> SequenceLoader:
        """Returns a loader of this rank's sequences, drawn from the training shots.

        Args:
            frames: per sequence.
            batch_size: frames per batch, over all ranks.
            maps: stored maps to load with the frames.
        """
        config = self.config
        settings = SequenceSettings(
            frames, config.sampling, config.frame_limit, config.resize, config.crop, config.seed,
            config.direction,
        )  # fmt: skip
        return SequenceLoader(
            self.data.train,
            settings,
            batch_size,
            workers=config.workers,
            device=self.device,
            maps=maps,
            rank=self.ranks.rank,
            world=self.ranks.world,
            cache=self.cache,
            warn=self.warn,
            least_batches=(config.epoch_steps - 1) * config.accumulate + 1,
        )

    def warn(self, line: str) -> None:
        """Prints a warning."""
        self.console.print(f"warning: {line}", style="yellow", soft_wrap=True)

    def note(self, line: str) -> None:
        """Prints a note."""
        print_note(self.console, line)

    def prepare_model(self, model: Localizer) -> Localizer:
        """Moves a model to the device, in channels-last format; compiles it for full batches."""
        model = model.to(self.device).to(memory_format=torch.channels_last)
        if self._syncs_batch_norm:
            model.encoder = model.encoder.with_sync_batch_norm()
            model.decoder = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model.decoder)
        config, ranks = self.config, self.ranks
        trained = full_batch(1, config.classifier_batch_size, ranks.rank, ranks.world)
        decoded = full_batch(
            1 if config.method == "tcam" else config.sequence_frames, config.batch_size,
            ranks.rank, ranks.world,
        )  # fmt: skip
        if config.method in END_TO_END:
            self.compile(model.encoder, trained, decoded, BATCH_SIZE)
        else:
            self.compile(model.encoder, trained, BATCH_SIZE)
        self.compile(model.decoder, decoded, BATCH_SIZE)
        return model

    def compile(self, module: nn.Module, *sizes: int) -> None:
        """Compiles a module for batches of these sizes, if configured.

        Not with synchronized batch norm: graphs break at it, or torch.compile fails.
        """
        if compiles(self.config, self.device) and not self._syncs_batch_norm:
            compile_full_batches(module, set(sizes))

    @property
    def _syncs_batch_norm(self) -> bool:
        on_gpu = self.device.type == "cuda"
        return self.config.sync_batch_norm == "on" and self.ranks.world > 1 and on_gpu

    def update(self, groups: Iterable[tuple[nn.Module, float]], decay_every: int) -> Update:
        """Returns the optimizer of (module, learning rate) pairs with this run's settings."""
        config = self.config
        return Update(
            groups,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            decay_every=decay_every,
            decay=config.decay,
            scaler=self.autocast.scaler(),
        )

    def validate(
        self, model: Localizer, decode: bool, records: Sequence[BoxedFrame] | None = None
    ) -> Evaluation:
        """Evaluates a model on the validation frames, divided among the ranks. A collective.

        Args:
            model: on the run's device.
            decode: whether to evaluate the localizer too, or the classifier and its CAM only.
            records: other frames; None: all validation frames.
        """
        config = self.config
        records = self.data.val if records is None else records
        return evaluate(
            model, records, self.data.classes, side=config.crop,
            cam=ActivationMap(model, config.cam, config.cam_layer),
            device=self.device, decode=decode, autocast=self.autocast, ranks=self.ranks,
            processes=useful_processes(len(records) // self.ranks.world, self.ranks.world),
        )  # fmt: skip


def open_run(config: Config, ranks: Ranks, split: StoredSplit | None = None) -> Run:
    """Opens the data and the device of a run. The run folder is not touched.

    Args:
        config: of the command line; `config.out` is set.
        ranks: processes of the run.
        split: stored split of the run that is continued; None: the split is drawn.

    Raises:
        UserError: the data cannot be used, or the device is not available.
    """
    assert config.out is not None  # a parsed configuration has a run folder
    console = make_console(quiet=not ranks.main)
    device = pick_device(config.device, ranks.local)
    _set_arithmetic(config, console)
    if config.data is None:
        console.print(f"built-in clip set '{config.clip_set}', seed {config.clip_seed}")
    data = _open_data(config, ranks, console, split)
    _print_summary(config, data, device, ranks, console)
    _check_training_frames(config, data)
    maps = None
    if config.seed_maps is not None and config.stage != "classifier":
        maps = SeedMaps(config.seed_maps)
        maps.check(data.train, config.frame_limit)
    cache = FrameCache(config.cache, int(1e9 * config.cache_size)) if config.cache else None
    board = config.out / "tensorboard" if config.tensorboard == "on" else None
    stored = None
    if ranks.main:  # which writes it
        drawn = StoredSplit.of(data)
        stored = (drawn if split is None else split.extended(drawn)).to_json()
    return Run(
        config, data, config.out, device, make_autocast(config.amp, device),
        Metrics(config.out / "metrics.jsonl", ranks.main, board), console, ranks, maps, cache,
        stored,
    )  # fmt: skip


def compiles(config: Config, device: torch.device) -> bool:
    """Returns whether encoder, decoder and losses are compiled on `device`."""
    return config.compile == "on" or (config.compile == "auto" and device.type == "cuda")


def _set_arithmetic(config: Config, console: Console) -> None:
    """Sets torch's global options of precision and determinism."""
    deterministic = config.deterministic == "on"
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Filling is slow and only helps debugging. (The module has a property without a type stub.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if deterministic:
        # cuBLAS reads it at its first use; without it, the choice of workspaces varies.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        console.print("deterministic: slower on a GPU; on a CPU nothing changes")


def _open_data(
    config: Config, ranks: Ranks, console: Console, split: StoredSplit | None
) -> VideoData:
    """Opens the data folder, on rank 0 first. A collective."""
    # Videos are probed for their length, and long ones for cuts, which may take minutes.
    with ranks.main_first(), console.status("opening the data"):
        folder = config.data or builtin_folder(config.clip_set, config.clip_seed)
        cut_over = config.cut_over if config.cut_shots == "on" else None
        return open_data(
            folder, config.splits, seed=config.seed, cut_over=cut_over, cache=config.cache,
            split=split, order=config.file_order,
        )  # fmt: skip


def _print_summary(
    config: Config, data: VideoData, device: torch.device, ranks: Ranks, console: Console
) -> None:
    for note in data.notes:
        print_note(console, note)
    where = f"{device.type}, {ranks.world} processes" if ranks.world > 1 else str(device)
    console.print(
        f"{len(data.classes)} classes, {len(data.train)} shots to train on, "
        f"{len(data.val)} frames to validate on, {len(data.test)} to test on; "
        f"{config.encoder} at {config.crop}×{config.crop} on {where}"
    )


def _check_training_frames(config: Config, data: VideoData) -> None:
    folder = config.data or "built-in clip set"
    if not data.train:
        raise UserError(f"{folder}: no shot to train on")
    if all(frame is None for shot in data.train for frame in shot.frames):
        shots = count_of(len(data.train), "training shot")
        raise UserError(f"{folder}: no frame of {shots} can be decoded; replace them")
