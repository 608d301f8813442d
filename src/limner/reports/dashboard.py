"""`limner dashboard TASK`: a workspace and a report of wandb from code, as a file or saved to a project."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from limner.doctor.machine import wandb_key
from limner.errors import UserError
from limner.files import write_json
from limner.loggers import names
from limner.paths import shown
from limner.reports.dashboard_panels import TITLES, sections, tested

ABOUT = """\
Builds wandb's workspace and report of a task: scores, losses, gradients, speed, tests, examples, and what the runs
differ in. --out writes both as JSON, without network or account; --save puts them into a project."""
WIDTH, HEIGHT, ACROSS = 8, 6, 3  # of a panel in wandb's grid of 24 columns


def main(argv: list[str]) -> int:
    """`limner dashboard TASK (--out FILE | --save)`; the exit code."""
    parser = argparse.ArgumentParser(prog="limner dashboard", description=ABOUT)
    parser.add_argument("task", choices=names.TASKS, help="whose names are shown")
    parser.add_argument("--out", help="write workspace and report as JSON")
    parser.add_argument("--save", action="store_true", help="save both to the project; needs a login")
    parser.add_argument("--project", default="limner", help="wandb project (default: limner)")
    parser.add_argument("--entity", help="wandb team or user (default: yours)")
    options = parser.parse_args(argv)
    if not (options.out or options.save):
        raise UserError("say where to: --out FILE writes JSON, --save needs a login to wandb")
    if options.save and not wandb_key():
        raise UserError("--save: no login to wandb: wandb login, or set WANDB_API_KEY; --out FILE needs neither")
    workspace, report = build(options.task, options.project, options.entity or "")
    if options.out:
        write_json(Path(options.out), {"task": options.task, "workspace": plain(workspace), "report": plain(report)})
        print(f"dashboard: {shown(Path(options.out).absolute())}")
    if options.save:
        save(workspace, report, options.entity)
    return 0


def library() -> tuple[Any, Any]:
    """wandb's workspaces and reports as code.

    Raises:
        UserError: the package is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'limner[dashboard]'") from None
    return workspaces, reports


def build(task: str, project: str, entity: str = "") -> tuple[Any, Any]:
    """The workspace and the report of a task, which show its runs alone; nothing is sent.

    Args:
        task: one of `limner.loggers.names.TASKS`.
        project, entity: where they will stand; without an entity they are for a file.
    """
    ws, wr = library()
    grids = panels(task)
    chosen = f"Metric('JobType') = '{task}'"
    columns = ["run:displayName", "run:state", "summary:objective", "summary:test/score", "run:createdAt"]
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=f"limner: {TITLES[task]}",
        sections=[
            ws.Section(name=title, panels=some, is_open=title in ("Scores", "Training", "Examples"))
            for title, some in grids.items()
        ],
        runset_settings=ws.RunsetSettings(filters=chosen, pinned_columns=columns),
    )
    blocks: list[Any] = [wr.P(f"Runs of `limner train` on {TITLES[task]}. Values are explained in docs/dashboards.md.")]
    for title, some in panels(task).items():  # panels of their own: places differ
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[wr.Runset(name=TITLES[task], filters=chosen)], panels=some)]
    report = wr.Report(project=project, entity=entity, title=f"limner: {TITLES[task]}", blocks=blocks, width="fluid")
    for number, panel in enumerate(itertools.chain(*(section.panels for section in workspace.sections))):
        panel._id = f"limner{number:03d}"  # otherwise drawn by chance: the same code makes the same file
    grids_of = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
    for number, panel in enumerate(itertools.chain(*(block.panels for block in grids_of))):
        panel._id = f"report{number:03d}"
    for number, block in enumerate(grids_of):
        block.runsets[0]._id = f"runs{number:03d}"
    return workspace, report


def panels(task: str) -> dict[str, list[Any]]:
    """Title -> wandb's panels, placed in rows."""
    _, wr = library()
    made = {
        title: [wr.LinePlot(title=panel.title, x="Step", y=list(panel.names)) for panel in some]
        for title, some in sections(task).items()
    }
    made["Test"] = [wr.BarPlot(title=name, metrics=[name]) for name in tested(task)]
    made["Examples"] = [wr.WeavePanelSummaryTable(table_name=name) for name in (names.EXAMPLES, names.EXAMPLES_EACH)]
    axes = [wr.Config("optim.lr"), wr.Config("data.batch_size"), wr.Config("seed"), wr.SummaryMetric("objective")]
    made["Runs"] = [
        wr.RunComparer(diff_only=True),
        wr.ParallelCoordinatesPlot(columns=[wr.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes]),
        wr.ParameterImportancePlot(with_respect_to="objective"),
    ]
    for title, some in made.items():
        wide = title in ("Examples", "Runs")
        for number, panel in enumerate(some):
            row, column = (number, 0) if wide else divmod(number, ACROSS)
            panel.layout = wr.Layout(
                x=column * WIDTH,
                y=row * HEIGHT,
                w=WIDTH * ACROSS if wide else WIDTH,
                h=HEIGHT * (1 + (title == "Examples")),
            )
    return made


def plain(made: Any) -> dict[str, Any]:
    """A workspace or a report as wandb's server takes it."""
    return json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))


def save(workspace: Any, report: Any, entity: str | None) -> None:
    """Saves both and prints where they are.

    Raises:
        UserError: wandb refuses, or cannot be reached.
    """
    import wandb

    try:
        workspace.entity = report.entity = entity or wandb.Api().default_entity
        print(f"workspace: {workspace.save().url}")
        report.save()
        print(f"report: {report.url}")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"--save: wandb says: {reason}; --out FILE needs no server") from None
