"""Preparation: published data sets to data folders, data folders to split files.

- `youtube_objects_v1`: reads YouTube-Objects v1.
- `youtube_objects_v2`: reads YouTube-Objects v2.2.
- `source_set`: source data set, the result of reading: shots, boxes, test videos, faults.
- `archives`: unpacks untrusted tar and zip archives.
- `mat_files`: reads the MATLAB files of YouTube-Objects.
- `mat_reader`: process that isolates crashes of SciPy's reader.
- `splits`: splits of a source data set, drawn by a seed or read from split files.
- `place_frames`: moves, links or copies frames to a data folder.
- `export_splits`: writes split files for a data folder.
- `export_frames`: writes the frames of video files as image files, with split files.
- `atomic_folder`: atomic writing of folders.
"""
