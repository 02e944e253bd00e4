"""Training step benchmark: setting, input, parts, floors, table."""
