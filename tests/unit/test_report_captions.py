"""Captions in `limner report` and `limner compare`: the page stands alone, and only equal images are compared."""

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
from limner.reports.tasks import captions
from limner.reports.tasks.caption_words import usage

CONFIG = """\
name: caps
seed: 1
task: {_target_: limner.tasks.captioning.Captioning}
scst: {start_epoch: 2, sampler: multinomial}
data: {folder: data, made_by: limner data toy data, features: [data/regions.h5], select: val, test: val}
callbacks: {monitor: val/score, mode: max}
"""
METRICS = {
    "split": "val",
    "items": 4,
    "metrics": {"score": 81.25, "cider_d": 81.25, "bleu_4": 30.5, "bad_endings": 0.25, "mine": 7.0},
    "intervals": {"score": [70.125, 92.5]},
    "signature": "CIDEr-D <df:references>",
    "notes": ["METEOR left out: no Java"],
}


def row(number: int, caption: str, score: float, **changes) -> dict:
    words = caption.split()
    row = {"id": number, "image_id": number, "caption": caption, "logp": -0.5 * number, "tokens": words}
    row |= {"attention": [[0.2, 0.8] for _ in words], "references": ["A cat sits.", "Two dogs sit."], "cider_d": score}
    return {**row, **changes}


ROWS = [
    row(1, "a cat sits", 150.0, beams=[["a cat sits", -0.5], ["a <i>cat</i>", -1.25]]),
    row(2, "a dog on a", 0.0, references=["<b>A</b> dog & a cat", "A dog."]),
    row(3, "a <cat>", 75.0),
    row(4, "a cat sits", 100.0, attention=[[0.5, 0.25, 0.25]] * 3),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A project folder with a run that went from cross-entropy to SCST, three pictures of four, and features."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "caps" / "1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    lines = [{"step": step, "epoch": 0, "train/loss": 3.0} for step in (0, 10)]
    rewards = {"train/sample_reward": 0.5, "train/greedy_reward": 0.75, "train/baseline": 0.5, "train/length": 9.5}
    lines += [{"step": step, "epoch": 1, "train/loss": 0.1, **rewards} for step in (20, 30)]
    lines += [{"step": 30, "epoch": 1, "val/score": 81.25, "val/length": 9.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows_of.write(folder / "eval" / "val" / "rows.jsonl.gz", ROWS)
    (folder / "eval" / "val" / "metrics.json").write_text(json.dumps(METRICS))
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for number in (1, 2, 3):
        Image.new("RGB", (80, 40), (number, 200, 90)).save(images / f"{number:012d}.png")
    with FeatureWriter(tmp_path / "data" / "regions.h5", dim=4, extractor="test", provenance={"classes": CLASSES}) as w:
        for number in (1, 2, 3, 4):
            boxes = np.array([[0, 0, 80, 40], [20, 10, 60, 30], [1, 1, 2, 2]], np.float32)[: 3 if number == 4 else 2]
            w.add(number, np.ones((len(boxes), 4), np.float32), boxes, (80, 40), cls_id=np.arange(len(boxes)))
    return folder


CLASSES = ["sky", "<dog>"]  # the third region of image 4 is of a class without a name


def tile(html: str, word: str) -> str:
    """The small drawing under a word."""
    return re.search(rf"<div><svg((?!</div>).)*<b>{word}</b>", html)[0]


def test_the_page_of_a_whole_run(run, capsys):
    assert command.main([str(run)]) == 0
    html = (run / "report.html").read_text()
    tags = Tags(html)
    assert len(tags.loads) == 3  # each picture once, however many words it is shown for
    assert all(load.startswith("data:image/") for load in tags.loads)
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.ids)
    assert len(tags.ids) == len(set(tags.ids))
    assert "url(" not in html
    assert "CIDEr-D on val, 4 images, 95 % interval 70.12 to 92.50" in html
    for text in ("81.25", "CIDEr-D &lt;df:references&gt;", "METEOR left out: no Java", "BLEU-4", "30.50", "mine"):
        assert text in html
    assert html.count(">CIDEr-D</td>") == 1  # cider_d is the score
    for text in (
        "&lt;b&gt;A&lt;/b&gt; dog &amp; a cat",
        "a &lt;cat&gt;",
        "a &lt;i&gt;cat&lt;/i&gt;",
        "&lt;dog&gt;: 80.0",
    ):
        assert text in html
    assert not re.search("<b>A|<cat|<i>cat|<dog", html)
    assert "3 of 4 pictures were found" in html
    assert "2 beams" in html
    assert "multinomial" in html


def test_curves_of_scst_share_plots_and_its_beginning_is_marked(run):
    html = command.report(find(str(run)))
    rewards = re.search(r"<figure><figcaption><b>rewards</b>.*?</figure>", html)[0]
    assert re.findall(r'class="key c\d">([^<]*)<', rewards) == [
        "sample_reward 0.5",
        "greedy_reward 0.75",
        "baseline 0.5",
    ]
    assert html.count(">SCST</text>") >= 3
    length = re.search(r"<figure><figcaption><b>words in a caption</b>.*?</figure>", html)[0]
    assert "train/length 9.5" in length
    assert "val/length 9" in length


def test_each_word_shows_its_regions(run):
    html = command.report(find(str(run)))
    drawn = tile(html, "dog")  # in image 2, which has a picture
    assert re.findall(r'class="frame".*?opacity:([\d.]+)', drawn) == ["0.25", "1.00"]
    assert re.search(r'<g opacity=".18"><use href="#g0-\d"/></g>', drawn)
    fourth = html.index("image 4;")
    plain = html[html.rindex("<article", 0, fourth) : fourth]
    assert plain.count('class="outline"') == 3
    assert plain.count('class="heat"') == 9  # three words, three regions
    assert re.findall(r'class="label"[^>]*>([^<]*)<', plain) == ["sky", "&lt;dog&gt;", ""]


def test_without_pictures_and_regions_attention_is_a_strip(run, tmp_path):
    (tmp_path / "data" / "regions.h5").unlink()
    html = command.report(find(str(run)), images=str(tmp_path / "outputs"))
    tags = Tags(html)
    assert tags.loads == []
    assert "No regions for 4 of 4 pictures" in html
    assert "region 2: 80.0 %" in html
    assert "regions unknown" in html


def test_rows_without_truth_and_details_are_still_shown(run):
    rows_of.write(run / "eval" / "val" / "rows.jsonl.gz", [{"id": k, "caption": f"a cat {k}"} for k in range(3)])
    (run / "eval" / "val" / "metrics.json").unlink()
    html = command.report(find(str(run)))
    Tags(html)
    assert html.count('<article class="card">') == 3
    assert "No metrics" in html
    assert "not annotated" in html
    rows_of.write(run / "eval" / "val" / "rows.jsonl.gz", [{"id": 1, "caption": "", "tokens": [], "attention": None}])
    Tags(command.report(find(str(run))))


def items(rows):
    return [captions.CaptionReport().item(row) for row in rows]


def test_what_is_kept_of_a_row():
    one = items([ROWS[3]])[0]
    assert one == (4, 4, 100.0, ("a", "cat", "sits"), 3, -2.0, ("A cat sits.", "Two dogs sit."), None, None)
    bare = items([{"id": 1, "caption": "a cat", "cider_d": float("nan")}])[0]
    assert bare == (1, None, None, ("a", "cat"), None, None, (), None, None)


def test_scores_by_length_and_regions():
    html = captions.by_length(items(ROWS))
    tables = re.findall(r"<thead>.*?</thead><tbody>(.*?)</tbody>", html, re.DOTALL)
    cells = [[re.findall(r"<td[^>]*>([^<]*)", line)[:3] for line in table.strip().splitlines()] for table in tables]
    assert cells[0] == [["2", "1", "75.0"], ["3", "2", "125.0"], ["4", "1", "0.0"]]
    assert cells[1] == [["2", "3", "75.0"], ["3", "1", "100.0"]]
    assert cells[2][0] == ["-0.50", "2", "87.5"]  # logp -1.5 over two words and the end, -2 over three: -0.5 each


def test_words_next_to_peoples():
    captions = [["a", "cat", "a"], ["a", "dog"], ["a", "dog"], []]
    found = usage(captions, [["a", "cat"], ["the", "cat"], ["the", "end"]], bad=["a", "of"], show=2)
    assert (found.captions, found.words, found.length, found.distinct) == (4, 3, 7 / 4, 3)
    assert found.most == [("a", 75.0, pytest.approx(100 / 3)), ("dog", 50.0, 0.0)]
    assert found.missing == [("the", 0.0, pytest.approx(200 / 3)), ("end", 0.0, pytest.approx(100 / 3))]
    assert found.repeated == [("a dog", 2)]
    assert (found.last, found.bad) == ([("dog", 2), ("a", 1)], 1)
    assert usage([["a"]], []).most == [("a", 100.0, None)]


def test_the_page_counts_people_in_the_words_of_the_metrics():
    html = captions.words(items(ROWS))
    assert "4 captions with 6 different words" in html
    assert "1 (25.0 %) end badly" in html  # a dog on a
    assert re.search(r"<td>cat</td><td[^>]*>50.0</td><td[^>]*>50.0</td>", html)  # 2 of 4 captions, 4 of people's 8
    assert re.search(r"<td>two</td><td[^>]*>0.0</td><td[^>]*>37.5</td>", html)


def test_worst_best_and_random_are_different_images():
    rows = [row(k, "a cat", float(k)) for k in range(20)]
    chosen = captions.chosen(items(rows), 4)
    shown = {title: [one.id for one in group.items] for title, group in chosen.items()}
    assert shown["Worst"] == [0, 1, 2, 3]
    assert shown["Best"] == [19, 18]
    assert len(shown["Random"]) == 2
    assert not set(shown["Random"]) & {0, 1, 2, 3, 18, 19}
    assert [[one.id for one in group.items] for group in captions.chosen(items(rows[:3]), 12).values()] == [
        [0, 1],
        [2],
        [],
    ]
    assert captions.chosen(items(rows[::-1]), 4)["Random"].items == chosen["Random"].items


# --- compare ---


def save(folder, scores, **changes) -> str:
    rows = [row(k, f"caption {k} of {folder.name}", score, **changes) for k, score in enumerate(scores)]
    rows_of.write(folder / "rows.jsonl.gz", rows)
    return str(folder)


def test_two_captioners_side_by_side(tmp_path, capsys):
    a = save(tmp_path / "a", [10.0, 100, 50, 20])
    b = save(tmp_path / "b", [110.0, 40, 50, 60])
    (tmp_path / "b" / "metrics.json").write_text('{"signature": "CIDEr-D|beam 5"}')
    assert compare.main([a, b, "--examples", "1"]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["B", b, "CIDEr-D|beam", "5"] in lines
    assert ["images", "count", "CIDEr-D", "minus", "A", "95", "%", "interval"] in lines
    assert ["all", "4", "A", "45.00"] in lines
    assert next(line for line in lines if line[:2] == ["B", "65.00"])[2] == "+20.00"
    assert ["A,", "B", "2", "1", "1"] in lines
    assert text.count("image 0  +100.0\n  A   10.0  caption 0 of a\n  B  110.0  caption 0 of b\n") == 1
    assert "  people    A cat sits.\n            Two dogs sit.\n" in text
    assert "where A is most ahead of B\n\nimage 1  -60.0\n" in text
    assert compare.main([a, b, "--markdown"]) == 0
    text = capsys.readouterr().out
    assert "| B |" in text
    assert "CIDEr-D\\|beam 5" in text
    assert "\n    image 0  +100.0\n      A   10.0  caption 0 of a\n" in text


def test_further_numbers_are_compared_when_every_row_has_them(tmp_path, capsys):
    a = save(tmp_path / "a", [10.0, 100], rouge_l=40.0, bleu_4=10.0)
    b = save(tmp_path / "b", [10.0, 100], rouge_l=50.0)
    assert compare.main([a, b]) == 0
    text = capsys.readouterr().out
    assert "ROUGE-L  A  40.00\n         B  50.00   +10.00  +10.00 to +10.00  better\n" in text
    assert "BLEU" not in text


def test_images_only_in_one_are_one_line(tmp_path):
    a, b = save(tmp_path / "a", [1.0] * 9), save(tmp_path / "b", [1.0] * 2)
    with pytest.raises(UserError, match=r"9 images .* 2 of .*: 7 only in A \(2, 3, 4, 5, 6 and 2 more\); evaluate all"):
        compare.read([a, b], None)


def test_other_captions_of_people_and_other_tasks_are_refused(tmp_path):
    a = save(tmp_path / "a", [1.0, 2.0])
    turned = save(tmp_path / "t", [1.0, 2.0], references=["Two dogs sit.", "A cat sits."])
    assert len(compare.read([a, turned], None)) == 2  # their order says nothing
    other = save(tmp_path / "o", [1.0, 2.0], references=["A cat sits."])
    with pytest.raises(UserError, match=r"2 images have other captions of people \(ids 0, 1\)"):
        compare.read([a, other], None)
    rows_of.write(tmp_path / "vqa.jsonl", [{"id": k, "answer": "x", "accuracy": 1.0} for k in range(2)])
    with pytest.raises(UserError, match=r"a has rows of captioning, .*vqa.jsonl has rows of vqa: compare .* one task"):
        compare.read([a, str(tmp_path / "vqa.jsonl")], None)
    bare = save(tmp_path / "bare", [1.0, None])
    with pytest.raises(UserError, match=r"1 of 2 rows have no CIDEr-D \(ids 1\)"):
        compare.read([bare], None)
