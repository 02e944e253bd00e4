"""Teachers: maps of other models, stored for `--seed-maps` of train.py.

- `storing`: what a teacher is, and the folder of stored maps that it fills
- `tag_words`: words of the class tags, for prompts and categories
- `detections`: files of boxes: COCO, boxes.csv, boxes.json
- `frame_names`: names of frames in these files
- `box_maps`: teacher of boxes
- `clip_model`: CLIP models of open_clip
- `clip_maps`: teacher of CLIP: gradient-weighted maps, refined by attention
"""
