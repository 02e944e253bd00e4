"""Shots: parts of a video without cuts.

- `detection`: finds the cuts of a video.
- `shots`: `ShotFrames`, shots as frame sources; cuts long videos into shots.
"""
