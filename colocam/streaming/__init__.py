"""Streams: cameras, addresses and raw frames on standard input, read frame by frame.

- `captures`: what a stream is, `Stream`, and an opened one, `StreamCapture`
- `camera`: a camera by its number
- `address`: rtsp, http and the other protocols of FFmpeg
- `raw_frames`: raw frames on standard input
- `connection`: the frames of a stream, which is opened again when it is lost
- `reader`: a thread that reads them, with a bounded number of frames in memory
- `json_lines`: results written as they are computed
"""
