"""The tasks that reports and comparisons know, one module each."""

from __future__ import annotations

from typing import Any

from limner.reports.source import Source, read_rows
from limner.reports.tasks.base import TaskReport
from limner.reports.tasks.captions import CaptionReport
from limner.reports.tasks.visdial import DialogReport
from limner.reports.tasks.vqa import VQAReport

TASKS: dict[str, TaskReport[Any]] = {task.name: task for task in (VQAReport(), CaptionReport(), DialogReport())}


def task_of(source: Source) -> TaskReport[Any]:
    """The task of a run or an evaluation.

    Rows are asked first, since they are what is shown; where there are none, metrics.json, the package and the
    configuration say it. A task that is not in `TASKS` gets the plain report.

    Raises:
        UserError: one of these files is broken.
    """
    row = next(read_rows(source.rows, {0}), None) if source.rows else None
    if row is not None:
        return next((task for task in TASKS.values() if task.row_key in row), TaskReport())
    target = str(source.value("task._target_", ""))
    module = next((name for name in TASKS if target.startswith(f"limner.tasks.{name}.")), None)
    for name in (source.metrics().get("task"), source.json("package/model.json").get("task"), module):
        if name in TASKS:
            return TASKS[name]
    return TaskReport()
