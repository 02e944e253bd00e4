"""Data in: layouts of data sets, decoding, frame sampling."""
