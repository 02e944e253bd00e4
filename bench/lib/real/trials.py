"""Trials of bench/real.py, the seed CAM among them."""

from pathlib import Path

from lib.paper import stored_maps
from lib.paper.tables import Row
from lib.paper.trials import Experiment, Trial, best_score


def make_trial(experiment: Experiment, row: Row, seed: int) -> Trial:
    """Makes the trial of a row with one seed."""
    if row.options is None:
        return SeedCamTrial(experiment, row, seed)
    return stored_maps.make_trial(experiment, row, seed)


class SeedCamTrial(Trial):
    """The seed CAM, which stage 1 evaluates itself."""

    @property
    def folder(self) -> Path:
        """Run folder of stage 1."""
        return self.classifier

    def _validation(self) -> tuple[float, float | None]:
        return best_score(self.log("classifier")), None
