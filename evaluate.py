"""Evaluates a checkpoint of train.py: `python evaluate.py --help`."""

from colocam.cli.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
