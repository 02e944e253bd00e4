"""Loading: frame sampling, transforms, the frame cache and batches."""
