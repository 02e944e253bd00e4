"""What all measurements of a step of stage 2 have in common, machine and published case too."""

from dataclasses import dataclass

from colocam.data.loading.loader import DrawnBatch
from colocam.training.run import Run, compiles
from lib.floor import rates
from lib.step.floors import Floor, make_floors
from lib.timing import copy_bandwidth

SIDE, BATCH_SIZE = 224, 32
PUBLISHED = {"whole_ms": 840.0, "baseline_ms": 60.0}
PUBLISHED_ABOUT = (
    "CoLo-CAM paper, Table 4: ResNet50, 32 frames of 224×224, an A100, its filter on the CPU"
)


@dataclass(frozen=True)
class Setting:
    """What all measurements have in common.

    Attributes:
        run: its configuration.
        batch: the one that is trained on.
        source: a line on where its frames come from.
        seconds: for the repeats.
        rates: FLOPs a second that "matmul" and "convolution" reach.
        bandwidth: bytes a second that a copy moves.
        floors: by part.
    """

    run: Run
    batch: DrawnBatch
    source: str
    seconds: float
    rates: dict[str, float]
    bandwidth: float
    floors: dict[str, Floor]

    @property
    def on_gpu(self) -> bool:
        """Where the step runs."""
        return self.run.device.type == "cuda"

    @property
    def published(self) -> bool:
        """Whether the paper gives a time for this case."""
        config = self.run.config
        case = (config.encoder, config.crop, config.batch_size)
        return case == ("resnet50", SIDE, BATCH_SIZE)

    def describe(self) -> dict[str, object]:
        """As it stands in the result file."""
        run, config = self.run, self.run.config
        return {
            "device": run.device.type,
            "encoder": config.encoder,
            "weights": "random",
            "classes": len(run.data.classes),
            "size": config.crop,
            "batch_size": config.batch_size,
            "frames_a_sequence": config.frames,
            "frames": sum(self.batch.lengths),
            "sequences": len(self.batch.lengths),
            "data": self.source,
            "dtype": str(run.autocast.dtype).removeprefix("torch."),
            "compiled": compiles(config, run.device),
            "deterministic": config.deterministic == "on",
            "workers": config.workers,
            "seconds": self.seconds,
            "flops_per_s": self.rates,
            "copy_bytes_per_s": self.bandwidth,
            "published": {"about": PUBLISHED_ABOUT, **PUBLISHED} if self.published else None,
        }


def make_setting(run: Run, batch: DrawnBatch, source: str, seconds: float) -> Setting:
    """Measures what the machine reaches, and takes the floors from it; see `Setting`."""
    dtype = run.autocast.dtype
    speeds = rates(run.device, dtype)
    bandwidth = copy_bandwidth(run.device)
    floors = make_floors(
        run.config, sum(batch.lengths), dtype.itemsize, max(speeds.values()), bandwidth
    )
    return Setting(run, batch, source, seconds, speeds, bandwidth, floors)
