"""Evaluates a checkpoint of train.py: `python evaluate.py --help` lists the options."""

from colocam.cli.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
