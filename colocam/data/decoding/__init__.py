"""Decoding: frame sources (`FrameSource`) of video files, folders of images and arrays.

- `open`: opens a path as one of the two frame sources below.
- `images`: `ImageFrames`, folders of images.
- `video_file`: `VideoFrames`, video files.
- `probing`: frame count and seek points of a video file.
- `capture`: opened video files, decoded by FFmpeg in PyAV.
- `seeking`: seek points of a video file, verified when they are reached.
- `probe_cache`: frame counts, seek points and cuts, stored between runs.
- `resizing`: to the square of a model.
- `checks`: checks of frame numbers and file names.
- `timestamps`: frames with their times.
- `arrays`: frames given as arrays or tensors.
- `enclosing_video`: the video that contains a single frame.
"""
