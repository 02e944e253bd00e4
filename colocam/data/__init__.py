"""Data: videos with class tags and boxes, from files to batches.

The way of the data, with the package of each step::

    file -> decoding -> shots -> layouts -> loading -> batch

- `records`: types that the packages exchange: `FrameSource` (frames decoded on demand), `Shot`
  (training), `BoxedFrame` (evaluation), `VideoData` (a data set).
- `decoding`: frame sources of files and arrays: `open`, `images`, `video_file`, `capture`,
  `seeking`, `probe_cache`, `checks`, `timestamps`, `arrays`, `enclosing_video`.
- `shots`: parts of a video without cuts: `detection`, `shots`.
- `layouts`: data sets in folders: `open`, `class_folder`, `boxes_csv`, `holdout`, `split_layout`,
  `split_files`, and the built-in clip set, `builtin`.
- `loading`: batches: `loader`, `sequence_dataset`, `sampling`, `transforms`, `seed_maps`, `cache`,
  `cache_entry`, `frame_batches`, `prefetch`.
- `prepare`: conversion of published data sets and archives to a layout, before training.

Each of these packages describes its files in its docstring.
"""
