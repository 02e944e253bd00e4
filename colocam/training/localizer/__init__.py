"""Stage 2, the localizer.

- `stage`: the stage, `LocalizerStage`
- `frozen_encoder`: the encoder that stage 1 trained
- `seeding`: seeds from its CAMs or from stored maps
- `step_losses`, `collapse`: losses and metrics of a step
"""

from colocam.training.localizer.stage import LocalizerStage, Prepared, loss_settings

__all__ = ["LocalizerStage", "Prepared", "loss_settings"]
