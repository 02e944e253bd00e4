"""`python -m colocam.localize`: see `colocam.cli.localize`."""

from colocam.cli.localize import main

if __name__ == "__main__":
    raise SystemExit(main())
