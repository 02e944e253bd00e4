"""Configuration of a training run: its options with their help texts."""

import json
from dataclasses import Field, asdict, dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from colocam.training.config.presets import PRESETS


def _option(group: str, default: object, text: str, *, main: bool = False) -> Any:
    """A field of `Config` with its help text.

    Args:
        group: heading of the option in the help.
        default: value of the preset "paper".
        text: help text.
        main: whether --help lists the option; --help-all lists all of them.
    """
    return field(default=default, metadata={"group": group, "help": text, "main": main})


@dataclass(frozen=True)
class Config:
    """Configuration of a training run.

    Defaults are the values of the papers. Pixel counts and σ_xy refer to 224×224 pixels.
    """

    preset: str = _option(
        "options", "paper", "set of defaults; the other options override it", main=True
    )
    data: Path | None = _option(
        "data", None, "data folder (default: the built-in clip set)", main=True
    )
    splits: Path | None = _option(
        "data", None, "folder of split files (default: DATA/splits, if it exists)", main=True
    )
    out: Path = _option(
        "options",
        Path("runs/paper"),
        "run folder; if the default holds a run, the next free name: with -2, -3, … appended",
        main=True,
    )
    stage: Literal["all", "classifier", "localizer"] = _option(
        "options",
        "all",
        "stages to run: classifier (1), localizer (2, with the classifier in the run folder) or "
        "all",
        main=True,
    )
    method: Literal["colocam", "tcam", "fcam", "trcam"] = _option(
        "options",
        "colocam",
        "colocam: all four loss terms; fcam: the per-frame terms; tcam: the per-frame terms, with "
        "seeds from the maximum of the CAMs over a frame and the frames before it; trcam: encoder "
        "and both heads in one stage, with seeds from --seed-maps",
        main=True,
    )
    cam: Literal["layercam", "cam", "gradcam", "gradcam++", "smoothgradcam++", "xgradcam"] = (
        _option("seeds", "layercam", "activation map from which seeds are drawn", main=True)
    )
    cam_layer: str = _option(
        "seeds", "last", "name of the encoder layer at which the activation map is computed"
    )
    seed_maps: Path | None = _option(
        "seeds", None, "folder of stored maps, used instead of activation maps"
    )
    encoder: str = _option(
        "model",
        "resnet50",
        "backbone: resnet18, resnet50, vgg16, inceptionv3 or timm:NAME, a model of timm; "
        "timm:NAME:half for small objects",
        main=True,
    )
    pooling: Literal["wgap", "gap", "max", "lse"] = _option(
        "model", "wgap", "pooling of the classifier's last feature map"
    )
    weights: str = _option(
        "model", "imagenet", "initial weights of the encoder: imagenet, none or a file", main=True
    )
    classifier: Literal["localization", "classification", "both"] = _option(
        "stage 2",
        "localization",
        "best classifier checkpoint, by this score, that initializes stage 2; both: encoder and "
        "head by classification, seeds by localization, as published",
    )
    device: Literal["auto", "cpu", "cuda"] = _option("runtime", "auto", "device", main=True)
    amp: Literal["auto", "off", "bf16", "fp16"] = _option(
        "runtime",
        "auto",
        "mixed precision; auto: bf16 if it is fast here, otherwise fp16 on a GPU",
        main=True,
    )
    compile: Literal["auto", "on", "off"] = _option(
        "runtime", "auto", "torch.compile of encoder, decoder and losses; auto: on a GPU"
    )
    sync_batch_norm: Literal["on", "off"] = _option(
        "runtime", "off", "batch statistics over all processes, on GPUs"
    )
    deterministic: Literal["on", "off"] = _option(
        "runtime", "off", "deterministic algorithms; slower on a GPU"
    )
    workers: int = _option("runtime", 4, "processes that decode frames in advance", main=True)
    cache: Path | None = _option(
        "data",
        None,
        "folder that caches resized frames, frame counts and shot boundaries, so that each frame "
        "is decoded once (default: no cache)",
    )
    cache_size: float = _option("data", 100.0, "maximum size of --cache in GB")
    cut_shots: Literal["on", "off"] = _option(
        "data", "on", "split long training videos of a plain folder at detected shot boundaries"
    )
    cut_over: int = _option(
        "data", 1000, "number of frames above which a video is long; 1000 frames are about 40 s"
    )
    file_order: Literal["natural", "name"] = _option(
        "data",
        "natural",
        "order of frames, videos and classes by file name: natural (2 before 10), or name "
        "(character by character, 10 before 2; that of runs by earlier versions)",
    )
    seed: int = _option("options", 0, "seed of the random number generators", main=True)
    keep: int = _option("runtime", 2, "number of training states to keep for --resume")
    state_every: int = _option(
        "runtime", 0, "steps between training states within an epoch; 0: at epoch ends only"
    )
    stop_after_skips: int = _option(
        "runtime", 10, "consecutive steps with a non-finite gradient after which the run stops"
    )
    tensorboard: Literal["on", "off"] = _option(
        "runtime", "off", "write TensorBoard logs; needs the extra 'tensorboard'"
    )
    clip_set: Literal["default", "small", "large"] = _option(
        "data", "default", "size of the built-in clip set"
    )
    clip_seed: int = _option("data", 0, "seed of the built-in clip set")

    resize: int = _option("data", 256, "side to which training frames are resized, pixels")
    crop: int = _option(
        "data", 224, "side of the random crop and of evaluated frames, pixels", main=True
    )
    batch_size: int = _option(
        "stage 2",
        32,
        "frames per batch over all processes, in complete sequences; tcam counts the last frame "
        "of each sequence only",
        main=True,
    )
    accumulate: int = _option("both stages", 1, "batches per optimizer step")
    frames: int = _option("stage 2", 4, "frames per sequence (n); trcam: 1", main=True)
    sampling: Literal["adjacent", "interval", "gaussian"] = _option(
        "stage 2", "adjacent", "sampling of the frames of a sequence", main=True
    )
    direction: Literal["before", "after", "both"] = _option(
        "stage 2", "before", "position of the neighbours in adjacent sampling"
    )
    frame_limit: float = _option(
        "data", 0.6, "central fraction of each shot from which frames are sampled"
    )

    classifier_layers: Literal["all", "last", "head"] = _option(
        "stage 1",
        "all",
        "layers that are trained: all; last: the encoder's last block and the head; head: the head "
        "alone, on features of the frozen encoder that are computed once",
        main=True,
    )
    classifier_epochs: int = _option("stage 1", 100, "number of epochs", main=True)
    classifier_batch_size: int = _option("stage 1", 32, "frames per batch over all processes")
    classifier_lr: float = _option("stage 1", 0.001, "learning rate", main=True)
    classifier_head_factor: float = _option(
        "stage 1", 10.0, "learning rate of the head divided by that of the backbone"
    )
    classifier_decay_every: int = _option("stage 1", 15, "epochs between learning rate decays")
    initial_foreground: float = _option(
        "stage 2",
        0.0,
        "S¹ of the untrained maps, everywhere: well below 0.5, the joint term does not turn them "
        "all foreground; 0: random weights, as published",
    )
    epochs: int = _option("stage 2", 10, "number of epochs", main=True)
    lr: float = _option("stage 2", 0.01, "learning rate", main=True)
    encoder_lr: float = _option(
        "stage 2", 0.001, "learning rate of the encoder, with --method trcam"
    )
    decay_every: int = _option("stage 2", 5, "epochs between learning rate decays")
    decay: float = _option("both stages", 0.9, "factor of each learning rate decay")
    momentum: float = _option("both stages", 0.9, "Nesterov momentum")
    weight_decay: float = _option("both stages", 1e-4, "weight decay")
    epoch_steps: int = _option(
        "both stages",
        1,
        "minimum number of steps per epoch: every training shot is drawn once per epoch, or as "
        "often as this takes, each time other frames",
        main=True,
    )
    evaluate_every: int = _option("both stages", 1, "epochs between validations")
    classifier_evaluate_every: int | None = _option(
        "stage 1", None, "epochs between validations (default: --evaluate-every)"
    )

    seed_scheme: Literal["published", "text"] = _option(
        "seeds", "published", "sampling of seeds: as in the published code or in the paper's text"
    )
    seed_region: Literal["none", "all", "largest", "densest"] = _option(
        "seeds",
        "largest",
        "region of foreground seeds: none (the entire frame), all pixels above Otsu's threshold, "
        "or the largest or densest connected region above it",
    )
    seed_box: Literal["on", "off"] = _option(
        "seeds", "on", "use the bounding box of that region instead of its pixels"
    )
    seed_pixels: int = _option(
        "seeds", 1000, "foreground and background pixels per frame, each, at 224×224"
    )
    seed_foreground_share: float = _option(
        "seeds", 0.7, "fraction of the region, highest values, for foreground seeds"
    )
    seed_background_share: float = _option(
        "seeds", 0.1, "fraction of the frame, lowest values, for background seeds"
    )

    tag_weighting: Literal["off", "weight", "discard"] = _option(
        "stage 2",
        "off",
        "weight of a frame, given the classifier's probability p of its video's tag: off: 1; "
        "weight: p; discard: 0 if p is below --tag-threshold, otherwise 1",
    )
    tag_threshold: float = _option("stage 2", 0.5, "minimum p for --tag-weighting discard")

    pl_weight: float = _option("loss terms", 1.0, "weight of the partial cross-entropy")
    pl_first_epoch: int = _option("loss terms", 0, "first epoch of this term, from 0")
    pl_last_epoch: int | None = _option("loss terms", None, "last epoch of this term")
    pl_ramp: float = _option("loss terms", 0.0, "epochs of linear warm-up of this weight")
    crf_weight: float = _option("loss terms", 2e-9, "weight λ of the spatial CRF", main=True)
    crf_first_epoch: int = _option("loss terms", 0, "first epoch of this term, from 0")
    crf_last_epoch: int | None = _option("loss terms", None, "last epoch of this term")
    crf_ramp: float = _option("loss terms", 0.0, "epochs of linear warm-up of this weight")
    asc_weight: float = _option("loss terms", 0.01, "weight of the size barrier")
    asc_first_epoch: int = _option("loss terms", 0, "first epoch of this term, from 0")
    asc_last_epoch: int | None = _option("loss terms", None, "last epoch of this term")
    asc_ramp: float = _option("loss terms", 0.0, "epochs of linear warm-up of this weight")
    coloc_weight: float = _option(
        "loss terms", 9.0, "weight λ_c of the joint CRF, see --coloc-weighting", main=True
    )
    coloc_first_epoch: int = _option("loss terms", 0, "first epoch of this term, from 0")
    coloc_last_epoch: int | None = _option("loss terms", None, "last epoch of this term")
    coloc_ramp: float = _option("loss terms", 0.0, "epochs of linear warm-up of this weight")
    coloc_weighting: Literal["adaptive", "constant"] = _option(
        "loss terms",
        "adaptive",
        "weighting of the joint term R: adaptive: λ_c·R/|R| per sequence; constant: λ_c·R",
    )
    energy_form: Literal["association", "cut"] = _option(
        "loss terms", "association", "form of both CRF energies"
    )
    sigma_rgb: float = _option(
        "loss terms", 15.0, "colour bandwidth of both CRF terms, in levels of 0 to 255"
    )
    sigma_xy: float = _option(
        "loss terms", 100.0, "spatial bandwidth of the spatial CRF, pixels at 224×224"
    )
    spatial_method: Literal["permutohedral", "dense"] = _option(
        "loss terms", "permutohedral", "filter of the spatial CRF"
    )
    joint_method: Literal["grid", "permutohedral", "dense"] = _option(
        "loss terms", "grid", "filter of the joint CRF; permutohedral unless --joint-features color"
    )
    joint_features: Literal["color", "features", "both"] = _option(
        "loss terms",
        "color",
        "what the joint CRF compares: color: colours, as published; features: five principal "
        "components of the encoder's middle map; both: colours and two components",
        main=True,
    )
    joint_feature_sigma: float = _option(
        "loss terms", 0.5, "bandwidth of these components, in standard deviations"
    )

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that a new run trains, in order: "classifier", "localizer"."""
        if self.stage != "all":
            return (self.stage,)
        return ("localizer",) if self.method in END_TO_END else ("classifier", "localizer")

    @property
    def sequence_frames(self) -> int:
        """Frames of a sequence that stage 2 reads: `frames`, or 1 if the encoder is trained too."""
        return 1 if self.method in END_TO_END else self.frames

    @classmethod
    def of_preset(cls, preset: str, changes: dict[str, Any]) -> "Config":
        """Values of a preset, overridden by `changes`; the run folder is runs/PRESET."""
        values = {"out": Path("runs") / preset, **PRESETS[preset], **changes}
        return cls(**values | {"preset": preset})

    def to_values(self) -> dict[str, Any]:
        """All options by name, as JSON types: paths are strings."""
        values: dict[str, Any] = json.loads(self.to_json())
        return values

    def to_json(self) -> str:
        """JSON object of all options."""
        return json.dumps(asdict(self), indent=1, default=str)


PER_FRAME = ("fcam", "tcam", "trcam")  # methods without the joint term
END_TO_END = ("trcam",)  # methods that train encoder and both heads together, in one stage


def value_type(option: Field[Any]) -> type:
    """Type of an option's values other than None."""
    kind: Any = option.type
    if get_origin(kind) is Literal:
        return str
    if isinstance(kind, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    return kind


def choices(option: Field[Any]) -> tuple[str, ...] | None:
    """Values that an option can take; None: any value of its type."""
    if option.name == "preset":
        return tuple(sorted(PRESETS))
    return get_args(option.type) if get_origin(option.type) is Literal else None
