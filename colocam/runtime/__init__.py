"""Runtime: devices, processes, files, errors and messages. Any package may import it.

- `device`: device, mixed precision, global seeds
- `distribution`: processes that torchrun started, and their collectives
- `entry`: argument parser and exit status of the commands
- `errors`: errors that a user can correct
- `files`: atomic files, and tensor files with a digest
- `interruption`: SIGTERM and SIGINT
- `messages`: wording of lines for the user
"""
