"""`python -m colocam.seed_maps`: see `colocam.cli.seed_maps`."""

from colocam.cli.seed_maps import main

if __name__ == "__main__":
    raise SystemExit(main())
