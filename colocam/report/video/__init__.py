"""Report of one localized video: an HTML page with its numbers and pictures over time.

- `video_report`: `VideoReport` collects the frames and writes the page
- `frame_log`: numbers of each frame
- `kept_frames`: pictures of the few frames that the page shows
- `time_charts`: charts over time, decimated to a fixed number of columns
- `box_path`: path of the box through a shot, drawn over one of its frames
- `tables`: tables of stretches, jumps, classes and tracks
- `page`: fills the template `video.html.jinja`
"""

from colocam.report.video.video_report import VideoReport

__all__ = ["VideoReport"]
