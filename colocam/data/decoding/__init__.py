"""Decoding: frame sources for video files, folders of images and arrays.

`open.open_video` returns a `FrameSource` (see `colocam.data.records`): `ImageFrames` for a folder
of images, `VideoFrames` for a video file.
"""
