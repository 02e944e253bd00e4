"""Captures: opened video files that are decoded frame by frame, by OpenCV or PyAV.

- `open`: `Capture`, and opening one.
- `opencv`: captures of OpenCV, without log output.
- `pyav`: captures of PyAV.
- `choice`: which of the two decodes a file.
- `h264`: whether an H.264 stream may contain interlaced frames.
"""
