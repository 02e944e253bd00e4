"""Entry point of `python -m colocam.export`, see `colocam.cli.export`."""

from colocam.cli.export import main

if __name__ == "__main__":
    raise SystemExit(main())
