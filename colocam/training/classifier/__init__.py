"""Stage 1, the classifier.

- `stage`: the stage, `ClassifierStage`
- `features`: features of the frozen encoder, for the head alone
"""

from colocam.training.classifier.stage import BEST, ClassifierStage

__all__ = ["BEST", "ClassifierStage"]
