"""Commands: train, evaluate, localize, prepare."""
