"""Shots: cut detection, and shots as frame sources."""
