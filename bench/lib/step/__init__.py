"""Training step benchmark: setting, input, parts, floors and table."""
