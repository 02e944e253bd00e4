"""The loop of both stages, and the command that runs them."""
