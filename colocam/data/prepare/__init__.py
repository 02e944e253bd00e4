"""Preparation: published data sets into data folders, and data folders into split files."""
