"""Training: both stages and their loop, from the configuration to the run folder.

- `config`: options and presets of a run
- `run`: a run's data, device, processes and folder, and how they are opened
- `run_folder`: which folder a run writes to, and its lock
- `run_files`: the files of a run in it
- `train`: the stages in order, evaluation, report
- `estimate`: estimate of the duration on a CPU
- `loop`: epochs of steps, validation, signals; used by both stages
- `classifier`: stage 1, the classifier
- `localizer`: stage 2, the decoder
- `compilation`: torch.compile of the parts of a step
- `update`: optimizer step that skips non-finite gradients
- `progress`: losses, skipped steps and unreadable frames of an epoch
- `metrics`: log `metrics.jsonl`, TensorBoard
- `state`: training states, and how a run resumes from one
"""
