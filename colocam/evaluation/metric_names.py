"""Metric names in a run's log (`metrics.jsonl`) that the training loop and the report share."""

FOREGROUND_SHARE = "foreground"
"""Mean of S¹ over the frames, 0…1."""

ONE_SIDED = "one_sided"
"""Share of frames, 0…1, in collapsed sequences: S¹ is all foreground or all background."""
