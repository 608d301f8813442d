"""What `limner import KIND` reads, a module a kind: `ABOUT`, `arguments(parser)` and `run(options, folder)`.

To the command line each is a line of help and a few arguments; what is heavy is imported when it runs.
"""
