"""Entry point of `python -m colocam.prepare`, see `colocam.cli.prepare`."""

from colocam.cli.prepare import main

if __name__ == "__main__":
    raise SystemExit(main())
