"""Loading: batches for training and evaluation.

- `loader`: `SequenceLoader`, batches of training sequences.
- `sequence_dataset`: draws, decodes and collates the sequences.
- `sampling`: selects the frames of a sequence.
- `transforms`: resizes, crops, flips and normalizes frames and maps.
- `seed_maps`: stored maps, read instead of CAMs.
- `cache`: `FrameCache`, resized frames stored on disk.
- `cache_entry`: file format of the frame cache.
- `frame_batches`: batches of evaluation frames.
- `prefetch`: computes the next batch in a thread.
"""
