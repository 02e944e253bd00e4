"""Commands of the package; each lists its options with --help.

train: trains the classifier and the localizer, evaluates the result and writes a report.
evaluate: evaluates a checkpoint on the frames of a split.
localize: writes overlay videos and boxes of videos.
prepare: prepares published data sets and split files.
options: command line of train, derived from its configuration.
"""
