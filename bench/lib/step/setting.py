"""Setting of the training step benchmark: run, batch, device limits, published case."""

from dataclasses import dataclass

from lib.arguments import SIDE
from lib.roofline import peak_rates
from lib.step.floors import Floor, make_floors
from lib.timing import copy_bandwidth

from colocam.cli.train import compiles
from colocam.data.loading.loader import DrawnBatch
from colocam.training.run import Run

BATCH_SIZE = 32
PUBLISHED = {"whole_ms": 840.0, "baseline_ms": 60.0}
PUBLISHED_ABOUT = (
    "CoLo-CAM paper, Table 4: ResNet50, 32 frames of 224×224, an A100, its filter on the CPU"
)


@dataclass(frozen=True)
class Setting:
    """Setting shared by all measurements.

    Attributes:
        run: configuration and data.
        batch: on which all steps are taken.
        source: origin of its frames, one line.
        seconds: total time of the repeats.
        rates: FLOP/s of "matmul" and "convolution".
        bandwidth: bytes per second of a copy.
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
        """Whether the step runs on a GPU."""
        return self.run.device.type == "cuda"

    @property
    def published(self) -> bool:
        """Whether the paper reports a time for this setting."""
        config = self.run.config
        case = (config.encoder, config.crop, config.batch_size)
        return case == ("resnet50", SIDE, BATCH_SIZE)

    def describe(self) -> dict[str, object]:
        """Entries of the result file."""
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
    """Measures the limits of the device and computes the floors; see `Setting`."""
    dtype = run.autocast.dtype
    rates = peak_rates(run.device, dtype)
    bandwidth = copy_bandwidth(run.device)
    floors = make_floors(
        run.config, sum(batch.lengths), dtype.itemsize, max(rates.values()), bandwidth
    )
    return Setting(run, batch, source, seconds, rates, bandwidth, floors)
