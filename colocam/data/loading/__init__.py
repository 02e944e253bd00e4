"""Loading: frame sampling, transforms, caching and batches."""
