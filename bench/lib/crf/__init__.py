"""CRF benchmark: terms, accuracy, other packages, table."""
