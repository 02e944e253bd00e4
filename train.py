"""Trains a video object localizer from class tags; see `python train.py --help`."""

from colocam.cli.train import main

if __name__ == "__main__":
    raise SystemExit(main())
