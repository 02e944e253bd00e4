"""Decoding: frames of video files, folders of images and arrays."""
