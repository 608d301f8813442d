"""Data sets of others, fetched from where they are published: `limner data get NAME`.

`sets.yaml` is the table of files and addresses; nothing here is called while something is imported or trained.
"""
