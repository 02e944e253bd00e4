"""Data set layouts: from files on disk to records (`colocam.data.records`).

- `open`: opens a data set, whatever its layout.
- `class_folder`: plain folders `<class>/<video>`.
- `boxes_csv`: boxes of a plain folder; `box_units`: they are pixels, not fractions.
- `holdout`: splits the videos of a plain folder into train, val and test.
- `stored_split`: the split of a run, found again in a folder that has changed since.
- `split_layout`: data sets with split files, such as YouTube-Objects.
- `split_files`: reads and writes split files.
- `builtin`: the built-in clip set, written to disk.
- `builtin_settings`: its settings.
- `builtin_drawing`: its frames and boxes, drawn from a seed.
"""
