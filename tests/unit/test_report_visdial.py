"""Visual dialog in `limner report` and `limner compare`: tables, cards, and what two evaluations differ in."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from page_tags import Tags
from PIL import Image

from limner.data.features import FeatureWriter
from limner.errors import UserError
from limner.metrics import rows as rows_of
from limner.reports import command, compare
from limner.reports.source import find
from limner.reports.tasks import task_of, visdial

CONFIG = """\
name: talk
seed: 1
task: {_target_: limner.tasks.visdial.VisDialTask, stage: dense, main: ndcg}
data: {folder: data, made_by: limner data toy data, features: [data/regions.h5], select: val, test: val}
callbacks: {monitor: val/score, mode: max}
"""
METRICS = {
    "split": "val",
    "items": 6,
    "task": "visdial",
    "main": "ndcg",
    "metrics": {"score": 61.5, "ndcg": 61.5, "mrr": 52.25, "r1": 33.0, "mean_rank": 3.5, "mine": 7.0},
    "intervals": {"score": [50.0, 70.5], "ndcg": [50.0, 70.5], "mean_rank": [2.0, 5.0]},
    "notes": ["1 of 2 judged rounds have no relevant option & are not in NDCG"],
}
OPTIONS = ["yes", "no", "<two>", "red", "a dog", "maybe", "blue & red"]


def row(image: int, number: int, rank: int, **changes) -> dict:
    """A round whose answer "yes" has a rank; the other options follow each other."""
    others = [place for place in range(1, 8) if place != rank]
    ranks = [rank, *others]
    best = [[OPTIONS[ranks.index(place)], -float(place)] for place in range(1, 8)]
    made = {"id": 100 * image + number, "image_id": image, "round_id": number, "ranks": ranks}
    made |= {"scores": [-float(place) for place in ranks], "image_caption": f"<b>image</b> {image}"}
    made |= {"dialog": [[f"q{k} <i>", f"a{k} & b"] for k in range(1, number)], "question": "is it red", "best": best}
    return {**made, "given": "yes", "gt_index": 0, "rank": rank, **changes}


ROWS = [
    row(1, 1, 1),
    row(1, 2, 7, question="what color is <it>", relevance=[1.0, 0, 0, 0.4, 0, 0, 0], ndcg=40.0),
    row(2, 1, 2),
    row(2, 2, 4, question="how many"),
    row(3, 1, 1, relevance=[1.0, 0, 0, 0, 0, 0, 0], ndcg=100.0),
    row(3, 5, 3),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A project folder with a run, two pictures of three, and features."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "talk" / "1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    lines = [{"step": step, "epoch": 0, "train/loss": 3.0, "train/alignment": 0.5} for step in (0, 10)]
    lines += [{"step": 10, "epoch": 0, "val/score": 61.5, "val/mrr": 52.25, "val/ndcg": 61.5, "val/r1": 33.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows_of.write(folder / "eval" / "val" / "rows.jsonl.gz", ROWS)
    (folder / "eval" / "val" / "metrics.json").write_text(json.dumps(METRICS))
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (80, 40), (number, 200, 90)).save(images / f"{number:012d}.png")
    with FeatureWriter(tmp_path / "data" / "regions.h5", dim=4, extractor="test", provenance={}) as writer:
        for number in (1, 2, 3):
            boxes = np.array([[0, 0, 80, 40], [20, 10, 60, 30]], np.float32)
            writer.add(number, np.ones((2, 4), np.float32), boxes, (80, 40))
    return folder


def cells(html: str, title: str) -> list[list[str]]:
    """The rows of a section's first table."""
    part = html[html.index(f"<h2>{title}</h2>") :]
    body = re.search(r"<tbody>(.*?)</tbody>", part, re.DOTALL)[1]
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in body.strip().splitlines()]


def cards(html: str, title: str) -> list[str]:
    part = html[html.index(f"<h2>{title}</h2>") :]
    return re.findall(r"<article.*?</article>", part[: part.index("</section>")], re.DOTALL)


def test_the_page_of_a_whole_run(run, capsys):
    assert command.main([str(run)]) == 0
    html = (run / "report.html").read_text()
    tags = Tags(html)
    assert all(load.startswith("data:image/") for load in tags.loads)
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.ids)
    assert len(tags.ids) == len(set(tags.ids))
    assert "NDCG on val, 6 rounds, 95 % interval 50.00 to 70.50" in html  # what `score` measures
    assert "1 of 2 judged rounds have no relevant option &amp; are not in NDCG" in html
    assert not re.search("<two>|<b>image|<i>|<it>", html)
    assert "2 of 3 pictures were found" in html
    for title in ("MRR and NDCG", "train/loss"):
        assert f"<figcaption><b>{title}</b>" in html


def test_metrics_in_the_order_of_papers(run):
    found = cells(command.report(find(str(run))), "Metrics")
    assert [cell[0] for cell in found] == ["NDCG", "MRR", "R@1", "mean rank", "mine"]
    assert found[0][1:] == ["61.50", "50.00 to 70.50"]
    assert found[1][1:] == ["52.25", ""]


def test_tables_by_round_and_by_question(run):
    html = command.report(find(str(run)))
    by_round = [line[:-1] for line in cells(html, "By round")]
    third = 100 * (1 / 1 + 1 / 2 + 1 / 1) / 3
    assert [line[0] for line in by_round] == ["1", "2", "5"]
    assert by_round[0][1:3] == ["3", f"{third:.2f}"]
    assert by_round[0][4:] == ["66.67", "100.00", "100.00", "1.33", "100.00", "1"]
    assert by_round[1][4:] == ["0.00", "50.00", "100.00", "5.50", "40.00", "1"]
    assert by_round[2][-2:] == ["", ""]
    assert [line[:2] for line in cells(html, "By question")] == [
        ["yes/no", "4"],
        ["what color", "1"],
        ["how many", "1"],
    ]
    figure = re.search(r"<figure><figcaption><b>by round</b>.*?</figure>", html)[0]
    assert re.findall(r'class="key c\d">([^<]*)<', figure) == ["R@10", "MRR", "R@1"]
    assert figure.count("<polyline") == 3


def test_cards_show_dialog_options_and_relevance(run):
    html = command.report(find(str(run)))
    worst = cards(html, "Answer ranked last")
    assert [re.search(r"image (\d), round (\d)", card).groups() for card in worst] == [
        ("1", "2"),
        ("2", "2"),
        ("3", "5"),
    ]
    first = worst[0]
    assert "answer ranked 7 of 7; NDCG 40.0" in first
    assert "q1 &lt;i&gt; <b>a1 &amp; b</b>" in first
    table = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(<td.*?)</tr>", first)]
    assert table[0] == ["1", "no", "-1.00", "0"]
    assert table[2] == ["3", "red", "-3.00", "0.4"]
    assert table[-1] == ["7", "<b>yes</b>", "-7.00", "1"]  # not among the best five
    assert len(table) == 6
    assert "1 earlier" in worst[2]  # three rounds before are open, the first is folded
    assert 'class="outline"' in worst[2]  # no picture: what the model saw
    assert [card.count("relevance") for card in worst] == [1, 0, 0]
    assert len(cards(html, "Lowest NDCG")) == 2
    right = cards(html, "Answer ranked first")
    assert {re.search(r"image (\d)", card)[1] for card in right} == {"1", "3"}
    assert all("<b>yes</b>" in card for card in right)


def test_rows_of_a_test_split(run):
    hidden = ("given", "gt_index", "rank", "relevance", "ndcg")
    rows = [{name: value for name, value in one.items() if name not in hidden} for one in ROWS]
    rows_of.write(run / "eval" / "val" / "rows.jsonl.gz", rows)
    (run / "eval" / "val" / "metrics.json").unlink()
    html = command.report(find(str(run)))
    Tags(html)
    assert html.count("the split hides") == 3
    assert len(cards(html, "Rounds")) == 3  # one an image
    assert "<b>yes</b>" not in html
    bare = [{"id": 7, "ranks": [1]}]
    rows_of.write(run / "eval" / "val" / "rows.jsonl.gz", bare)
    Tags(command.report(find(str(run))))


def test_rows_are_known_by_their_ranks(run):
    assert task_of(find(str(run))).name == "visdial"
    item = visdial.DialogReport().item
    one = item(ROWS[1])
    assert (one.id, one.image, one.rank, one.ndcg, one.round, one.kind) == (102, 1, 7, 40.0, 2, "what color")
    assert one.score == pytest.approx(100 / 7)
    assert item({"id": 1, "ranks": [1]})[1:6] == (None, None, None, None, 0)


def test_groups_of_examples():
    items = [visdial.DialogReport().item(row(k, 1, 1 + k % 7)) for k in range(1, 40)]
    groups = visdial.chosen(items, 6)
    assert [one.rank for one in groups["Answer ranked last"].items] == [7, 7, 7, 7, 7, 6]
    assert [one.rank for one in groups["Answer ranked first"].items] == [1, 1, 1]
    assert groups["Lowest NDCG"].items == []
    assert visdial.chosen(items[::-1], 6) == groups


# --- compare ---


def save(folder, ranks, gains, **changes) -> str:
    rows = []
    for k, rank in enumerate(ranks):
        more = {} if gains[k] is None else {"ndcg": gains[k]}
        rows.append(row(1 + k // 2, 1 + k % 2, rank, question=["is it", "what"][k % 2], **more, **changes))
    rows_of.write(folder / "rows.jsonl.gz", rows)
    return str(folder)


def test_two_models_side_by_side(tmp_path, capsys):
    a = save(tmp_path / "a", [1, 2, 1, 4], [None, 50.0, 20.0, None])
    b = save(tmp_path / "b", [2, 1, 1, 2], [None, 90.0, 30.0, None])
    assert compare.main([a, b, "--examples", "1"]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["rounds", "count", "MRR", "minus", "A", "95", "%", "interval"] in lines
    assert ["all", "4", "A", "68.75"] in lines
    assert next(line for line in lines if line[:2] == ["B", "75.00"])[2] == "+6.25"
    assert ["what", "2", "A", "37.50"] in lines
    assert ["NDCG", "of", "2", "A", "35.00"] in lines
    assert ["NDCG,", "what", "of", "1", "A", "50.00"] in lines
    assert ["B", "90.00", "+40.00", "+40.00", "to", "+40.00", "better"] in lines
    assert ["R@1", "A", "50.00"] in lines
    assert ["A,", "B", "2", "1", "1"] in lines
    assert "image 1, round 2: what  +50.0\n  A   50.0  no  (the answer given is ranked 2)\n  B  100.0  yes" in text
    assert "  people    yes\n" in text


def test_intervals_are_drawn_by_dialog(tmp_path, capsys):
    """Two dialogs whose rounds all differ alike: no dialog, one or both are drawn twice."""
    a = save(tmp_path / "a", [1] * 4, [None] * 4)
    b = save(tmp_path / "b", [1, 1, 2, 2], [None] * 4)
    compare.main([a, b])
    assert "-25.00  -50.00 to +0.00  no clear difference" in capsys.readouterr().out
    assert "NDCG" not in capsys.readouterr().out


def test_other_dialogs_are_refused(tmp_path):
    a = save(tmp_path / "a", [1, 2], [None, None])
    other = save(tmp_path / "o", [1, 2], [None, None], given="no")
    with pytest.raises(UserError, match=r"2 rounds ask something else or have another answer \(ids 101, 102\)"):
        compare.read([a, other], None)
    hidden = save(tmp_path / "h", [1, 2], [None, None])
    rows = [{**one, "rank": None} for one in rows_of.read(tmp_path / "h" / "rows.jsonl.gz")]
    rows_of.write(tmp_path / "h" / "rows.jsonl.gz", rows)
    with pytest.raises(UserError, match=r"2 of 2 rows have no MRR"):
        compare.read([hidden], None)
