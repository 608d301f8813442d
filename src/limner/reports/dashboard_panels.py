"""What stands on a dashboard, before any vendor: sections of panels, made from the one list of logged names."""

from __future__ import annotations

from collections.abc import Sequence

from limner.loggers import names
from limner.loggers.names import PRETRAINING, SCORES, SPEED
from limner.reports.curves import Panel
from limner.reports.tasks import TASKS

TITLES = {
    names.VQA: "Up-Down VQA",
    names.CAPTIONS: "Up-Down captioner",
    names.DIALOG: "Visual dialog",
    PRETRAINING: "ViLBERT before dialogs",
}
MAIN = ("val/score", "train/loss")
"""What is looked at first, in this order."""


def sections(task: str) -> dict[str, list[Panel]]:
    """Title -> the curves of a section, for a task of `names.TASKS`.

    Every name that a run of the task logs while it trains stands in one panel at least, but the epoch.
    """
    logged = names.in_training(task)
    panels = [Panel(name, (name,)) for name in MAIN] + task_panels(task)
    held = {name for panel in panels for name in panel.names}
    singles = [Panel(name, (name,)) for name in logged if name not in held and name.startswith(("train/", "val/"))]
    parts = tuple(names.grad_names(names.PARTS[task])[1:])
    gradients = [Panel("norm of all gradients", ("grad/norm",)), Panel("norms of the parts", parts)]
    return {
        "Scores": about(panels, "val/") + about(singles, "val/"),
        "Training": about(panels, "train/") + about(singles, "train/") + [Panel("learning rate", ("lr",))],
        "Gradients": gradients,
        "Speed": [Panel(one.about, (one.name,)) for one in SPEED],
    }


def task_panels(task: str) -> list[Panel]:
    """What the report of a task draws together, as far as the task logs it."""
    report = TASKS[names.DIALOG if task == PRETRAINING else task]
    logged = set(names.in_training(task))
    cut = [Panel(panel.title, tuple(name for name in panel.names if name in logged)) for panel in report.panels]
    return [panel for panel in cut if panel.names]


def about(panels: Sequence[Panel], kind: str) -> list[Panel]:
    """The panels whose first name is of a kind: `val/`, `train/`."""
    return [panel for panel in panels if panel.names[0].startswith(kind)]


def tested(task: str) -> list[str]:
    """The scores of the evaluation after the training, the main one first."""
    return names.in_test(task)


def every_name(task: str) -> list[str]:
    """Every name that stands on the dashboard of a task."""
    curves = [name for panels in sections(task).values() for panel in panels for name in panel.names]
    return [*dict.fromkeys(curves), *tested(task), names.EXAMPLES, names.EXAMPLES_EACH]


def meaning(name: str) -> str:
    """One line about a logged name."""
    score = name.partition("/")[2]
    if name.startswith("grad/") and score != "norm":
        return f"norm of the gradients of `{score}`, before clipping"
    listed = {one.name: one.about for one in (*names.STEPS, *SPEED)}
    return listed.get(name) or next((one.about for one in SCORES if one.name == score), "")
