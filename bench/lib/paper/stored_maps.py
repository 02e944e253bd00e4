"""Trials of methods whose seeds are stored maps."""

from pathlib import Path

from rich.console import Console

from lib.paper.tables import Options, Row
from lib.paper.trials import BEST, Experiment, Trial

from colocam.data.layouts.open import open_data
from colocam.localization.stored_maps import frames_of, store_maps
from colocam.models.checkpoint import load_checkpoint
from colocam.runtime.device import make_autocast, pick_device
from colocam.training.config import END_TO_END


def make_trial(experiment: Experiment, row: Row, seed: int) -> Trial:
    """Makes the trial of a row with one seed."""
    taught = row.options is not None and row.options.get("method") in END_TO_END
    return (StoredMapsTrial if taught else Trial)(experiment, row, seed)


class StoredMapsTrial(Trial):
    """A method with seeds from stored maps: those of stage 1's seed CAM, as of the others.

    Encoder and classification head start as stage 1 trained them.
    """

    @property
    def maps(self) -> Path:
        """Folder of the maps of all training frames."""
        return self.classifier / "maps"

    @property
    def options(self) -> Options:
        """Options of stage 2, with the maps."""
        return {**super().options, "seed-maps": self.maps}

    def train_localizer(self) -> None:
        """Writes the maps if there are none, then trains; resumes an interrupted run.

        Raises:
            UserError: the training run failed.
        """
        if not self.maps.is_dir():
            self._write_maps()
        super().train_localizer()

    def _write_maps(self) -> None:
        model, info = load_checkpoint(self.classifier / "checkpoints" / f"{BEST[1]}.safetensors")
        device = pick_device("auto")
        data = open_data(self.experiment.data_folder(), self.experiment.splits, seed=self.seed)
        unfinished = self.maps.with_name("maps-unfinished")
        store_maps(
            model.to(device),
            info,
            list(frames_of(data.train)),
            unfinished,
            device=device,
            autocast=make_autocast(self.experiment.config.amp, device),
            console=Console(stderr=True, quiet=True),
        )
        unfinished.rename(self.maps)
