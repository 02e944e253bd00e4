"""Evaluates a checkpoint of train.py: `python evaluate.py --help`."""

from colocam.evaluation.command import main

if __name__ == "__main__":
    raise SystemExit(main())
