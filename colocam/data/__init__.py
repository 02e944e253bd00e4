"""Data: videos with class tags and boxes, from files to batches.

The way of the data, with the package of each step::

    file -> decoding -> shots -> layouts -> loading -> batch

`records` defines the types that the packages exchange: `FrameSource` (frames decoded on demand),
`Shot` (training), `BoxedFrame` (evaluation) and `VideoData` (a data set).

`decoding`: frame sources of files.
    `open` opens a path as one of the frame sources of `images` (folders of images) and `video_file`
    (video files). `capture` opens OpenCV captures, `seeking` verifies seek points, `probe_cache`
    stores frame counts, seek points and cuts between runs, `checks` validates frame numbers and
    names. `timestamps` adds times to frames, `arrays` converts frames given as arrays or tensors,
    `enclosing_video` finds the video of a single frame.
`shots`: parts of videos without cuts.
    `detection` finds cuts, `shots` provides shots as frame sources and cuts long videos.
`layouts`: data sets in folders, opened as `VideoData`.
    `open` detects the layout of a folder: `class_folder` (with `boxes_csv` and `holdout`) or
    `split_layout` (with `split_files`). `builtin` writes the built-in clip set.
`loading`: batches.
    `loader` iterates over batches of training sequences, `sequence_dataset` draws and collates the
    sequences, `sampling` selects their frames, `transforms` resizes, crops and normalizes them,
    `seed_maps` reads stored maps. `cache` stores resized frames on disk, in files of the format of
    `cache_entry`. `frame_batches` reads evaluation frames, `prefetch` computes batches ahead.
`prepare`: published data sets and archives, converted to a layout before training.
"""
