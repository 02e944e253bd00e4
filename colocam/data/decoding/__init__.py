"""Decoding: frame sources for video files, folders of images and arrays.

`open.open_video` returns the `FrameSource` of a path (see `colocam.data.records`): `ImageFrames` for
a folder of images, `VideoFrames` for a video file.
"""
