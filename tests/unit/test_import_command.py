"""`limner import hu-vqa`: a published checkpoint with its pickles becomes a package that answers the same."""

from __future__ import annotations

import json
import pickle
import pickletools

import numpy as np
import pytest
import torch
from published_hu import ANSWERS, SIZES, WORDS, checkpoint, python2
from tiny_vqa import IMAGES, make_files, settings, write_store

import limner
from limner import cli, evaluate, predict
from limner.data.pickles import read_list
from limner.errors import UserError
from limner.models.updown_vqa import UpDownVQA
from limner.weights import importers, package
from limner.weights.command import main


@pytest.fixture
def files(tmp_path):
    """model.pth, dictionary.pkl, trainval_label2ans.pkl"""
    torch.save(checkpoint("product"), tmp_path / "model.pth")
    (tmp_path / "dictionary.pkl").write_bytes(python2([{word: k for k, word in enumerate(WORDS)}, WORDS]))
    (tmp_path / "trainval_label2ans.pkl").write_bytes(python2(ANSWERS))
    return tmp_path


def arguments(folder, **changes) -> list[str]:
    given = {"words": "dictionary.pkl", "answers": "trainval_label2ans.pkl", "to": "package", **changes}
    options = [text for name, value in given.items() for text in (f"--{name}", str(folder / value))]
    return ["hu-vqa", str(folder / "model.pth"), *options]


def test_the_pickles_are_what_python_2_wrote():
    assert pickle.loads(python2([{"is": 0}, ["café", "'s"]])) == [{"is": 0}, ["café", "'s"]]
    assert all(op.proto == 0 for op, _, _ in pickletools.genops(python2([{"is": 0}, WORDS])))


@pytest.mark.parametrize("kind", ["concat", "product"])
def test_a_package_that_answers_as_the_checkpoint(files, capsys, kind):
    torch.save(checkpoint(kind), files / "model.pth")
    assert cli.main(["import", *arguments(files)]) == 0
    assert f"{kind} attention" in capsys.readouterr().out
    made = package.read(files / "package")
    assert made.vocab == {"words": WORDS, "answers": ANSWERS}
    state = importers.read_checkpoint(files / "model.pth")
    model = UpDownVQA(**importers.hu_vqa_sizes(state)).eval()
    model.load_state_dict(importers.convert_hu_vqa(state))
    torch.manual_seed(1)
    feats, mask = torch.randn(2, 3, 6), torch.tensor([[True] * 3, [True] * 2 + [False]])
    inputs = feats, mask, torch.tensor([1, 0, 1]), torch.tensor([[0, 1, 2, 7], [3, 4, 7, 7], [6, 5, 4, 3]])
    assert torch.equal(made.model(*inputs).logits, model(*inputs).logits)
    answerer = limner.load(files / "package")
    answer = answerer.answer(feats[0].numpy(), "Is it red?")
    want = model(feats[:1], mask[:1], torch.tensor([0]), torch.tensor([[0, 1, 2]])).logits[0].sigmoid()
    assert dict(answer.top5)[answer.answer] == pytest.approx(want.max().item())
    assert answer.answer == (ANSWERS[want.argmax()] or "a")


def test_what_the_package_says(files):
    main(arguments(files))
    made = package.read(files / "package")
    assert made.sizes["question_length"] == 14
    assert made.meta["imported"] == {"from": "bottom-up-attention-vqa", "file": "model.pth"}
    assert made.meta["features"]["dim"] == 6
    assert str(files) not in (files / "package/model.json").read_text()
    assert "# bottom-up-attention-vqa" in (files / "package/README.md").read_text()


def test_lists_in_json(files):
    main(arguments(files))
    (files / "words.json").write_text(json.dumps(WORDS))
    (files / "answers.json").write_text(json.dumps(ANSWERS))
    main(arguments(files, words="words.json", answers="answers.json", to="again"))
    assert package.read(files / "again").vocab == package.read(files / "package").vocab


def test_answers_by_their_labels(files):
    """trainval_ans2label.pkl, in an order that tells nothing."""
    backwards = {answer: label for label, answer in reversed(list(enumerate(ANSWERS)))}
    (files / "trainval_ans2label.pkl").write_bytes(python2(backwards))
    main(arguments(files, answers="trainval_ans2label.pkl"))
    assert package.read(files / "package").vocab["answers"] == ANSWERS


def test_words_in_alphabetical_order_are_suspicious(files, capsys):
    state, words = checkpoint("product"), [f"w{k}" for k in range(10, 35)]
    state["module.w_emb.emb.weight"] = torch.randn(len(words) + 1, SIZES["embed_dim"])
    torch.save(state, files / "model.pth")
    for order in (words, words[::-1]):
        (files / "words.json").write_text(json.dumps(order))
        main(arguments(files, words="words.json", to=f"from-{order[0]}"))
        warned = "words.json: its words stand in alphabetical order" in capsys.readouterr().err
        assert warned == (order == words)


@pytest.mark.parametrize("protocol", range(6))
def test_lists_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps(WORDS, protocol))
    assert read_list(path) == WORDS
    path.write_bytes(pickle.dumps([{word: k for k, word in enumerate(WORDS)}, WORDS], protocol))
    assert read_list(path) == WORDS


# --- with the other commands ---


@pytest.fixture
def imported(files):
    main(arguments(files))
    return make_files(files)


def test_an_imported_model_predicts(imported, tmp_path):
    out = tmp_path / "answers.jsonl"
    old = write_store(imported / "old.h5", IMAGES["train"], extractor="unknown")  # what old layouts say
    given = {"model": imported / "package", "features": old, "questions": imported / "train_questions.json", "out": out}
    assert predict.main([*(f"{key}={path}" for key, path in given.items()), "device=cpu"], []) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 7
    assert {row["answer"] for row in rows} <= {*ANSWERS, "a"}


def test_an_imported_model_is_evaluated(imported, capsys):
    chosen = settings(imported)
    paths = [f"data.{kind}.val={chosen[kind]['val']}" for kind in ("questions", "annotations")]
    given = [f"model={imported / 'package'}", "data=vqa_v2", "split=val", *paths, "trainer=cpu"]
    given += [f"data.features=[{imported / 'val.h5'}]", f"data.cache={imported / 'cache'}", f"out={imported / 'out'}"]
    assert evaluate.main(given, []) == 0
    assert "3 of 3 items" in capsys.readouterr().out
    assert json.loads((imported / "out/metrics.json").read_text())["items"] == 3


# --- what is refused ---


def refused(arguments: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_existing_folder_is_left_alone(files):
    (files / "package").mkdir()
    (files / "package/mine.txt").write_text("mine")
    assert "package: is there already; give another --to" in refused(arguments(files))
    assert [p.name for p in (files / "package").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dictionary.pkl", [{}, WORDS[:-1]], "dictionary.pkl: 6 words, expected 7, as .*model.pth has"),
        ("trainval_label2ans.pkl", [*ANSWERS, "more"], "label2ans.pkl: 6 answers, expected 5, as .*model.pth has"),
        ("dictionary.pkl", [{}, [*WORDS[:-1], "is"]], "dictionary.pkl: vocabulary: words stand twice: is"),
        ("trainval_label2ans.pkl", ["yes"] * 5, "label2ans.pkl: answers: stand twice: 'yes'"),
        ("dictionary.pkl", {}, "dictionary.pkl: holds a dict, expected a list of texts"),
        ("dictionary.pkl", {"is": 0}, "dictionary.pkl: 1 words, expected 7"),
        ("dictionary.pkl", [{"is": 1}, WORDS], "dictionary.pkl: its ids are not 0 to 0, each once"),
        ("dictionary.pkl", [{"is": 0}, WORDS], "dictionary.pkl: its dict numbers the words otherwise than its list"),
        ("trainval_label2ans.pkl", {"yes": 1, "no": 2}, "label2ans.pkl: its ids are not 0 to 1, each once"),
        ("trainval_label2ans.pkl", {"yes": "0"}, "label2ans.pkl: its ids are not 0 to 0, each once"),
        ("trainval_label2ans.pkl", [1, 2, 3, 4, 5], "label2ans.pkl: holds a list, expected a list of texts"),
    ],
)
def test_lists_that_do_not_fit(files, name, content, said):
    (files / name).write_bytes(python2(content))
    with pytest.raises(UserError, match=said):
        main(arguments(files))
    assert not (files / "package").exists()


class Evil:
    """Its pickle calls a function when it is loaded."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was run')",))


@pytest.mark.parametrize("name", ["dictionary.pkl", "trainval_label2ans.pkl"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_with_code_is_never_run(files, name, protocol):
    (files / name).write_bytes(pickle.dumps([Evil()], protocol))
    assert f"{name}: is refused, a pickle may hold only plain" in refused(arguments(files))
    assert not (files / "package").exists()


def test_a_checkpoint_with_code_is_never_run(files):
    torch.save({"module.weight": Evil()}, files / "model.pth")
    assert "model.pth: cannot be read: it needs code" in refused(arguments(files))


def test_missing_files(files):
    assert "nowhere.pkl: there is no such file" in refused(arguments(files, words="nowhere.pkl"))
    (files / "model.pth").unlink()
    assert "model.pth: no such file" in refused(arguments(files))


def test_another_checkpoint(files):
    state = checkpoint("product")
    state["module.w_emb.emb.extra"] = state.pop("module.w_emb.emb.weight")
    torch.save(state, files / "model.pth")
    line = refused(arguments(files))
    assert line.startswith(str(files / "model.pth"))
    assert "missing: w_emb.emb.weight; unknown: w_emb.emb.extra" in line


def test_numbers_that_are_not_finite_are_told(files):
    state = checkpoint("product")
    assert SIZES["answers"] == len(ANSWERS)
    state["module.w_emb.emb.weight"][0, 0] = np.nan
    torch.save(state, files / "model.pth")
    assert "model.pth: w_emb.emb.weight holds NaN or infinite numbers" in refused(arguments(files))
