"""`limner report A B`: what differs between runs, and their curves in the same plots; curves of speed and gradients."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from page_tags import Tags

from limner.errors import UserError
from limner.reports import command
from limner.reports.curves import COLOURS
from limner.reports.several import flattened

CONFIG = """\
name: tiny
seed: {seed}
task: {{_target_: limner.tasks.vqa.VQATask}}
data: {{folder: data, select: val, fit: [train]}}
optim: {{lr: {lr}}}
paths: {{run: {seed}}}
callbacks: {{monitor: val/score, mode: {mode}}}
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """`make(NAME, best, ...)` writes a run folder with two validations and a line of speed."""
    monkeypatch.chdir(tmp_path)

    def call(name: str, best: float | None, *, seed: int = 1, lr: str = "0.1", mode: str = "max") -> str:
        folder = tmp_path / "outputs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(CONFIG.format(seed=seed, lr=lr, mode=mode))
        (folder / "status.json").write_text('{"state": "done"}')
        lines = [{"step": 1, "epoch": 0, "train/loss": 4.0, "lr": 0.1, "grad/norm": 2.0, "grad/question": 1.5}]
        lines += [{"step": k + 1, "epoch": k, "val/score": best - k} for k in range(2)] if best is not None else []
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        speed = {"step": 1, "epoch": 0, "speed/items": 100.0, "speed/waiting": 3.0, "speed/memory": 0.5}
        (folder / "speed.jsonl").write_text(json.dumps(speed) + "\n")
        return f"outputs/{name}"

    return call


def test_runs_side_by_side(make, capsys):
    """The best first; the table has the keys that differ and no others."""
    runs = [make("a", 40.0), make("b", 50.0, seed=2, lr="0.2"), make("c", None)]
    assert command.main(runs) == 0
    assert capsys.readouterr().out == "report: outputs/runs.html\n"
    html = Path("outputs/runs.html").read_text()
    tags = Tags(html)
    assert not tags.loads
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.ids)
    head = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", html)
    assert head == ["run", "state", "best val/score", "epoch", "seed", "optim.lr"]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>(.*?)</tr>", html)[1:]]
    assert rows == [
        ["b", "done", "50.00", "1", "2", "0.2"],
        ["a", "done", "40.00", "1", "1", "0.1"],
        ["c", "done", "1", "0.1"],
    ]
    titles = re.findall(r"<figcaption><b>(.*?)</b>", html)
    assert titles[:3] == ["val/score", "train/loss", "grad/norm"]
    assert {"lr", "grad/question", "speed/items", "speed/waiting", "speed/memory"} <= set(titles)
    scores = html[html.index("<b>val/score</b>") :].split("</figure>")[0]
    assert "b 49" in scores
    assert "a 39" in scores
    assert "c " not in re.sub(r"<[^>]+>", "", scores.split("</figcaption>")[0])  # it has not validated
    losses = html[html.index("<b>train/loss</b>") :].split("</figure>")[0]
    assert re.findall(r'class="key (c\d)">(\w)', losses) == [("c0", "b"), ("c1", "a"), ("c2", "c")]


def test_of_many_runs_the_best_are_drawn(make):
    runs = [make(f"r{k}", float(k)) for k in range(COLOURS + 2)]
    command.main([*runs, "--out", "many.html"])
    html = Path("many.html").read_text()
    assert f"Curves of {COLOURS} of {COLOURS + 2} runs" in html
    assert len(re.findall(r"<tr>", html)) == COLOURS + 3
    losses = html[html.index("<b>train/loss</b>") :].split("</figcaption>")[0]
    assert re.findall(r'class="key c\d">(\w+)', losses) == [f"r{k}" for k in range(COLOURS + 1, 1, -1)]


def test_less_is_better_where_the_run_says_so(make):
    command.main([make("a", 40.0, mode="min"), make("b", 50.0, mode="min")])
    html = Path("outputs/runs.html").read_text()
    assert html.index(">a</span>") < html.index(">b</span>")
    assert "39.00" in html


def test_refused(make):
    with pytest.raises(UserError, match=r"watch different values, val/score \(max\), val/score \(min\)"):
        command.main([make("a", 1.0), make("b", 1.0, mode="min")])
    with pytest.raises(UserError, match="there is no such run"):
        command.main([make("c", 1.0), "nowhere"])


def test_one_run_shows_gradients_and_speed(make):
    run = make("a", 40.0)
    command.main([run])
    html = Path(run, "report.html").read_text()
    assert "<summary>gradients, learning rate, speed</summary>" in html
    titles = re.findall(r"<figcaption><b>(.*?)</b>", html)
    assert titles[-5:] == [
        *("norms of gradients", "learning rate", "items a second", "waiting for data, % of the time", "memory, GiB")
    ]
    assert '<span class="key c1">question 1.5</span>' in html


def test_flattened():
    config = {"seed": 1, "paths": {"run": "x"}, "optim": {"lr": 0.1, "betas": [0.9]}}
    assert flattened(config) == {"seed": 1, "optim.lr": 0.1, "optim.betas": [0.9]}
