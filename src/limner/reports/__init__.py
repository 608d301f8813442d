"""What a run looks like: a page with curves, tables and pictures (`command`), runs beside each other (`compare`).

What a task adds to both stands in `tasks`, one module each.
"""
