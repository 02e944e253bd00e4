"""CRF benchmarks: the timed terms, their accuracy and table."""
