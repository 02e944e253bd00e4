"""Data: videos with class tags and boxes, from files to batches."""
