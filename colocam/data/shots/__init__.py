"""Shots: shot detection, and shots of a video as frame sources."""
