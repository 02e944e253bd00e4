"""Data set layouts: plain class folders, split files, the built-in clip set."""
