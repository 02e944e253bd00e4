"""Stage 2, the localizer.

- `stage`: the stage, `LocalizerStage`
- `end_to_end`: the stage of methods that train the encoder too, `EndToEndStage`
- `frozen_encoder`: the encoder that stage 1 trained
- `seeding`: seeds from its CAMs or from stored maps
- `step_losses`, `collapse`: losses and metrics of a step
"""

from colocam.models import Localizer
from colocam.training.config import END_TO_END
from colocam.training.localizer.end_to_end import EndToEndStage
from colocam.training.localizer.stage import LocalizerStage, Prepared, loss_settings
from colocam.training.run import Run

__all__ = [
    "EndToEndStage",
    "LocalizerStage",
    "Prepared",
    "loss_settings",
    "make_localizer_stage",
]


def make_localizer_stage(
    run: Run, model: Localizer, teacher: Localizer | None = None
) -> LocalizerStage:
    """Makes the stage of the run's method; arguments as of `LocalizerStage`."""
    kind = EndToEndStage if run.config.method in END_TO_END else LocalizerStage
    return kind(run, model, teacher)
