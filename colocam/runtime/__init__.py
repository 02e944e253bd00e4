"""Runtime: devices, processes, files, errors and messages."""
