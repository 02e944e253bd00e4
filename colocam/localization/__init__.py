"""Localization: a trained localizer applied to frames and whole videos.

- `inference`: `VideoLocalizer`, a checkpoint as a Python object (`colocam.load`)
- `whole_video`: all frames of a video through a localizer, in batches
- `stored_maps`: a model's maps, one file per frame, as seeds for another model
- `map_corloc`: CorLoc of stored maps
- `input_videos`: the videos selected by a command's arguments
- `drawing`: boxes and heat maps on images
- `overlay`: a frame with its box, class and score map drawn on it
- `export`: a localizer as one file that runs without colocam
- `exported`: the network in that file
- `video_writer`: mp4 files (H.264 or VP9)
"""
