"""`limner predict mode=dialog`: the model's answers become history, from Python, from files, on a terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_inference_dialogs import ASKED, REGIONS, SEEN, package
from tiny_captions import write_store
from tiny_visdial import content, write

from limner import preflight
from limner.cli import main as limner
from limner.data.features.together import open_stores
from limner.data.visdial_files import load_split
from limner.errors import UserError
from limner.inference import modes, module_for
from limner.inference.dialog_files import look, read_candidates
from limner.inference.dialogs import DialogRanker
from limner.metrics import rows as rows_of
from limner.weights.package import save

ANSWERS = ["yes", "no", "two cats", "the ball", "a big red dog"]
QUESTIONS = ["is there a cat", "how many", "is it on the left"]


@pytest.fixture(scope="module")
def ranker():
    made = package()
    made.vocab["frequent_answers"] = ANSWERS
    return DialogRanker([made])


# --- from Python ---


def test_a_dialog_goes_on(ranker):
    talk = ranker.dialog(REGIONS, caption="a red dog", candidates=ANSWERS, **SEEN)
    history: list[dict[str, str]] = []
    for question in QUESTIONS:
        expected = ranker.rank(
            REGIONS, dialog={"caption": "a red dog", "dialog": history}, question=question, candidates=ANSWERS, **SEEN
        )
        assert talk.ask(question) == expected
        history.append({"question": question, "answer": expected[0].answer})
        assert talk.said == history


def test_what_was_said_before_and_candidates_of_one_question(ranker):
    said = [{"question": "is it big", "answer": "yes"}]
    talk = ranker.dialog(REGIONS, caption="a red dog", said=said, candidates=["no"], **SEEN)
    found = talk.ask(ASKED["question"], ASKED["candidates"])
    assert found == ranker.rank(REGIONS, **ASKED, **SEEN)
    assert talk.ask("how many")[0].answer == "no"
    assert len(said) == 1  # the caller's list stays
    talk.said[-1]["answer"] = "two cats"  # a correction is read
    talk.ask("is it on the left", ["yes"])
    assert [one["answer"] for one in talk.said] == ["yes", found[0].answer, "two cats", "yes"]


def test_frequent_answers_are_candidates(ranker):
    assert sorted(one.answer for one in ranker.dialog(REGIONS, **SEEN).ask("how many")) == sorted(ANSWERS)
    assert {one.answer for one in ranker.dialog(REGIONS, candidates=2, **SEEN).ask("how many")} == set(ANSWERS[:2])
    bare = DialogRanker([package()])
    with pytest.raises(UserError, match="the model package keeps no frequent answers; give texts of your own"):
        bare.dialog(REGIONS)
    with pytest.raises(UserError, match="candidates: found 0, expected 1 or more"):
        ranker.dialog(REGIONS, candidates=0)


def test_a_model_that_only_reads_needs_no_regions():
    bare = DialogRanker([package(fusion="text", text_connections=[], image_connections=[])])
    assert len(bare.dialog(caption="a red dog", candidates=ANSWERS).ask("is it")) == 5
    with pytest.raises(UserError, match="features: none were given"):
        DialogRanker([package()]).dialog(candidates=ANSWERS)


def test_other_tasks_have_no_dialogs():
    assert modes(module_for("visdial")) == ("single", "dialog")
    assert modes(module_for("vqa")) == modes(module_for("captioning")) == ("single",)


# --- candidates ---


@pytest.mark.parametrize("text", ['["yes", " no ", "yes", ""]', "yes\nno\n\nyes\n", "\nyes\r\n no"])
def test_candidates_of_a_file(tmp_path, text):
    path = tmp_path / "c"
    path.write_bytes(text.encode())
    assert read_candidates(path) == ["yes", "no"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"[1]", "has 1 in it"),
        (b"[", "cannot be read"),
        (b"\n \n", "holds no texts"),
        (b"[]", "holds no texts"),
        (b"\xff", "cannot be read"),
    ],
)
def test_files_without_candidates(tmp_path, content, line):
    path = tmp_path / "c"
    path.write_bytes(content)
    with pytest.raises(UserError, match=line) as found:
        read_candidates(path)
    assert str(found.value).startswith(str(path))


# --- by the command ---


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package, regions of images 100, 107, 114 and 121, candidates."""
    monkeypatch.chdir(tmp_path)
    made = package()
    made.vocab["frequent_answers"] = ANSWERS
    save(tmp_path / "model", made)
    save(tmp_path / "imported", package())
    save(tmp_path / "reader", package(fusion="text", text_connections=[], image_connections=[]))
    write_store(tmp_path / "r.h5", {100: 2, 107: 1, 114: 3, 121: 2})
    (tmp_path / "c.txt").write_text("\n".join(ANSWERS[:3]))
    return tmp_path


def predict(*words: str, features: str | None = "r.h5", model: str = "model") -> int:
    given = [f"model={model}", *([f"features={features}"] if features else []), "device=cpu", "threads=1"]
    return limner(["predict", "mode=dialog", *given, *words])


def own(path: Path) -> list[dict]:
    dialogs = [
        {
            "image_id": 107,
            "caption": "a red dog",
            "dialog": [
                {"question": "is it big", "answer": "yes"},
                {"question": "is there a cat"},
                {"question": "is it red", "answer_options": ["no", "yes"]},
                {"question": "how many"},
            ],
        },
        {"image_id": 100, "caption": "a cat", "dialog": [{"question": "is it big", "answer": "no"}]},
        {"image_id": 114, "caption": "a ball", "dialog": [{"question": "how many"}]},
    ]
    path.write_text(json.dumps(dialogs))
    return dialogs


def test_dialogs_of_a_file(folder, ranker, capsys):
    dialogs = own(folder / "own.json")
    assert predict("questions=own.json", "candidates=c.txt", "out=o.jsonl") == 0
    assert capsys.readouterr().out == "4 rows: o.jsonl\n"
    rows = list(rows_of.read(folder / "o.jsonl"))
    assert [(row["image_id"], row["round_id"]) for row in rows] == [(107, 2), (107, 3), (107, 4), (114, 1)]
    store = open_stores(["r.h5"])
    regions = store.read(store.positions(np.array([107])))
    talk = ranker.dialog(
        regions.feats[0], caption="a red dog", said=dialogs[0]["dialog"][:1], candidates=ANSWERS[:3],
        boxes=regions.boxes[0], size=store.size(int(store.positions(np.array([107]))[0])),
    )  # fmt: skip
    for row, options in zip(rows, [None, ["no", "yes"], None]):
        found = talk.ask(row["question"], options)
        assert row["best"] == [[one.answer, pytest.approx(one.score, abs=1e-4)] for one in found[:5]]
        assert (row["answer"], row["score"]) == tuple(row["best"][0])


def test_every_question_of_a_file(folder):
    own(folder / "own.json")
    assert predict("questions=own.json", "keep_answers=false", "candidates=2", "out=o.jsonl", "images=[100,107]") == 0
    rows = list(rows_of.read(folder / "o.jsonl"))
    assert [row["id"] for row in rows] == [10701, 10702, 10703, 10704, 10001]
    assert {row["answer"] for row in rows if row["round_id"] != 3} <= set(ANSWERS[:2])


def test_dialogs_of_visdials_files(folder, capsys):
    """Questions bring their options with them, so that no other candidates are needed."""
    write(folder / "val.json", content(1))
    assert predict("questions=val.json", "out=o.jsonl", model="imported") == 2
    assert "every question has its answer" in capsys.readouterr().err
    assert predict("questions=val.json", "out=o.jsonl", "keep_answers=false", model="imported") == 0
    split = load_split(folder / "val.json")
    rows = list(rows_of.read(folder / "o.jsonl"))
    for number, row in enumerate(rows):
        assert row["question"] == split.said(number)[0]
        assert row["answer"] in [split.answers[option] for option in split.options_of(number)]
    test = content(1, split="test")
    write(folder / "test.json", test)
    assert predict("questions=test.json", "out=t.jsonl", model="imported") == 0
    asked = [(one["image_id"], len(one["dialog"])) for one in test["data"]["dialogs"]]
    assert [(row["image_id"], row["round_id"]) for row in rows_of.read(folder / "t.jsonl")] == asked


def test_options_of_ones_own_dialogs_are_ranked(folder, capsys):
    """mode=single, which is the usual one: the answers of the file are history, the last question's options ranked."""
    dialogs = own(folder / "own.json")
    asked = {"question": "is it red", "answer_options": ["no", "yes"]}
    write(folder / "one.json", [{**dialogs[1], "dialog": [*dialogs[1]["dialog"], asked]}])
    assert predict("mode=single", "questions=one.json", "out=o.jsonl") == 0
    (row,) = rows_of.read(folder / "o.jsonl")
    assert (row["id"], row["question"], sorted(row["ranks"])) == (10002, "is it red", [1, 2])
    assert row["best"][0][0] == ["no", "yes"][row["ranks"].index(1)]
    assert predict("mode=single", "questions=own.json", "out=p.jsonl") == 2
    assert "image 107, round 2: has no answer; only the last round" in capsys.readouterr().err
    write(folder / "bare.json", dialogs[1:])
    assert predict("mode=single", "questions=bare.json", "out=p.jsonl") == 2
    error = capsys.readouterr().err
    assert "no answer_options to rank: images 100, 114; add some, or let the model answer with mode=dialog" in error


def test_a_model_of_another_task_has_no_dialogs(folder, capsys):
    made = package()
    made.meta["task"] = "vqa"
    save(folder / "vqa", made)
    assert predict("images=[100]", model="vqa") == 2
    assert "mode=dialog: is for models of visual dialog, but this one is for vqa" in capsys.readouterr().err


def test_questions_from_a_pipe(folder, ranker, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("is there a cat\n  how many \n\nnot asked\n"))
    assert predict("images=[114]", "caption=a red dog", "out=talk.jsonl") == 0
    rows = list(rows_of.read(folder / "talk.jsonl"))
    seen = look(ranker, open_stores(["r.h5"]), 114)
    history: list[dict[str, str]] = []
    lines = []
    for row, question in zip(rows, ["is there a cat", "how many"], strict=True):
        found = ranker.after({"caption": "a red dog", "dialog": history}, question, ANSWERS, seen)
        history.append({"question": question, "answer": found[0].answer})
        assert (row["question"], row["answer"], row["image_id"]) == (question, found[0].answer, 114)
        told = [f"{one.answer} ({one.score:.2f})" for one in found[:3]]
        lines.append(f"{told[0]}; then {told[1]}, {told[2]}")
    assert capsys.readouterr().out.splitlines() == [*lines, "rows: talk.jsonl"]


def test_a_dialog_that_is_not_kept(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("is it big"))  # ends without a line's end
    assert predict("candidates=1", features=None, model="reader") == 2
    assert "keeps no frequent answers" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("is it big"))
    (folder / "one.json").write_text('["yes"]')
    before = sorted(folder.iterdir())
    assert predict("candidates=one.json", features=None, model="reader") == 0
    assert re.fullmatch(r"yes \(-?[\d.]+\)\n", capsys.readouterr().out)
    assert sorted(folder.iterdir()) == before


def test_refusals_in_one_line(folder, capsys):
    own(folder / "own.json")
    file = ("questions=own.json", "out=o.jsonl")
    for words, line in {
        (): "images: a dialog on the terminal is about one image",
        ("images=[100,107]",): "images: a dialog on the terminal is about one image",
        ("images=100",): "images=100: expected a list of image ids",
        ("questions=own.json",): "out: must be given",
        (*file, "caption=a"): "a file of questions has its own captions",
        (*file, "format=submission"): "format=submission: is for ranks",
        (*file, "candidates=none.txt"): "candidates: there is no file none.txt",
        (*file, "images=[5]"): "no dialog of the questions is about 5",
    }.items():
        assert predict(*words) == 2, words
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1
    assert predict(*file, features=None) == 2
    assert "features: must be given: the model looks at regions" in capsys.readouterr().err
    (folder / "own.json").write_text('[{"image_id": 1, "caption": "", "dialog": [{"answer": "yes"}]}]')
    assert predict(*file) == 2
    assert "field 'question' is missing" in capsys.readouterr().err
    assert not (folder / "o.jsonl").exists()


def test_keys_of_a_dialog_are_for_dialogs():
    with pytest.raises(UserError, match=r"candidates: is for mode=dialog; keep_answers: is for mode=dialog"):
        preflight.compose("predict", ["model=.", "candidates=5", "keep_answers=false", "out=o"])
