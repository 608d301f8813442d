"""Visual dialog's data module: what batches hold, that they repeat, that processes share them, what it refuses."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_dialog_data import data, drawn, make_files

from limner.data.visdial_files import load_split
from limner.data.wordpiece import WordPiece
from limner.errors import UserError
from limner.metrics.visdial import DialogMetrics
from limner.submit_visdial import check_dialog_file

SCORES = [0.5, 1.0, 0.25, -1.0, 0.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("dialogs"))


def texts(made, batch) -> list[str]:
    """The sequences of a batch as text, hidden words put back."""
    tokens = batch["tokens"].clone()
    if "words_at" in batch:
        tokens[batch["words_at"]] = batch["word_targets"]
    return [made.words.decode(row[mask].tolist()) for row, mask in zip(tokens, batch["text_mask"])]


def equal(one, other) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k] for k in a)
        for a, b in zip(one, other)
    )


# --- training ---


def test_sequences_of_an_epoch(folder):
    made = data(folder, per_image=2)
    batches = drawn(made.training_loader(dense=False))
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 2]  # 5 dialogs, two sequences each
    assert sorted(np.concatenate([batch["id"] for batch in batches]).tolist()) == [100, 107, 114, 121, 128]
    for batch in batches:
        assert batch["tokens"].shape == batch["segments"].shape == batch["text_mask"].shape
        assert int(batch["text_mask"].sum(1).max()) == batch["tokens"].shape[1]
        assert batch["word_targets"].shape == (int(batch["words_at"].sum()),)
        assert (batch["tokens"][batch["words_at"]] == made.words.mask).all()
        images, regions = batch["mask"].shape
        assert batch["regions_at"].shape == batch["blanked"].shape == (images, 1 + regions)
        assert not batch["regions_at"][:, 0].any()
        real = torch.cat((torch.ones(images, 1, dtype=torch.bool), batch["mask"][batch["image"]]), 1)
        assert not (batch["regions_at"] & ~real).any()
        assert batch["regions_at"].any(1).all()


def test_everything_is_read_when_nothing_is_drawn(folder):
    made = data(folder, per_image=None, batch_size=60, mask_words=0.0)
    (batch,) = drawn(made.training_loader(dense=False))
    said = json.loads((folder / "train.json").read_text())["data"]
    right = [text for text, label in zip(texts(made, batch), batch["labels"].tolist()) if label == 0]
    asked = []
    for image in batch["id"].tolist():
        dialog = next(one for one in said["dialogs"] if one["image_id"] == image)
        history = f"[CLS] {dialog['caption']} [SEP]"
        for one in dialog["dialog"]:
            history += f" {said['questions'][one['question']]} [SEP] {said['answers'][one['answer']]} [SEP]"
            asked.append(history)
    assert [text.replace(" ##", "") for text in right] == [text.replace(" ##", "") for text in asked]


def test_epochs_differ_and_repeat(folder):
    loader = data(folder).training_loader(dense=False)
    first = drawn(loader)
    loader.set_epoch(1)
    second = drawn(loader)
    assert not equal(first, second)
    loader.set_epoch(0)
    assert equal(first, drawn(loader))
    again = data(folder).training_loader(dense=False)
    again.load_state_dict({"epoch": 1, "batch": 1})
    assert equal(drawn(again), second[1:])
    assert not equal(first, drawn(data(folder, seed=2).training_loader(dense=False)))


@pytest.mark.parametrize("dense", [False, True])
def test_processes_share_what_one_would_read(folder, monkeypatch, dense):
    settings = {"batch_size": 8} if not dense else {"batch_size": 6}

    def read(rank, world):
        made = data(folder, **settings)
        monkeypatch.setattr(made, "share", lambda: (rank, world))
        return made, drawn(made.training_loader(dense=dense))

    made, alone = read(0, 1)
    shares = [read(rank, 2)[1] for rank in range(2)]
    for whole, *parts in zip(alone, *shares):
        there = [text for part in parts for text in texts(made, part)]
        assert set(there) >= set(texts(made, whole))  # a last batch of one item is seen by both
        assert sum(int(part["total"]) for part in parts) == 2 * parts[0]["total"]


def test_only_judged_rounds_are_ranked(folder):
    """Training reads the others as before; metrics want the judged ones and no more."""
    whole, made = data(folder), data(folder, ranked="judged")
    assert equal(drawn(whole.training_loader(dense=False)), drawn(made.training_loader(dense=False)))
    name = made.settings["select"]
    split, judged = whole.splits[name], made.splits[name]
    assert 0 < len(split.dense) < len(split.ranked)
    assert judged.ranked.tolist() == sorted(split.dense.tolist())
    for number in judged.ranked.tolist():
        assert judged.options_of(number).tolist() == split.options_of(number).tolist()
    found = [(image, number) for batch in drawn(made.loader(name)) for image, number in
             zip(batch["id"][batch["owner"]].tolist(), batch["round"].tolist())]  # fmt: skip
    assert sorted(found) == sorted(DialogMetrics(judged).places)


def test_judged_rounds(folder):
    made = data(folder, dense_options=None, batch_size=10)
    (first, second) = drawn(made.training_loader(dense=True))  # two rounds of five options, then one
    assert first["relevance"].shape == (2, 5)
    assert second["relevance"].shape == (1, 5)
    judged = {one["image_id"]: one for one in json.loads((folder / "train_dense.json").read_text())}
    for image, shares in zip(first["id"].tolist(), first["relevance"]):
        np.testing.assert_allclose(shares, judged[image]["relevance"])
    assert (first["labels"].view(2, 5) == 0).sum(1).tolist() == [1, 1]
    assert first["dialog"].tolist() == [0] * 5 + [1] * 5
    some = drawn(data(folder, dense_options=3, batch_size=3).training_loader(dense=True))
    assert [batch["labels"].tolist() for batch in some] == [[0, 1, 1]] * 3


# --- evaluation ---


def test_all_options_of_all_rounds(folder):
    made = data(folder)
    batches = drawn(made.loader("val"))
    assert [len(batch["round"]) for batch in batches] == [6, 3]
    assert batches[0]["options"].tolist() == list(range(0, 35, 5))
    assert batches[0]["dialog"].tolist() == [0] * 15 + [1] * 15
    last = drawn(made.loader("val"))[0]
    assert equal([last], batches[:1])
    said = json.loads((folder / "val.json").read_text())["data"]
    options = said["dialogs"][1]["dialog"][2]["answer_options"]
    read = [text.split(" [SEP] ")[-1].removesuffix(" [SEP]") for text in texts(made, batches[0])[25:30]]
    assert read == [said["answers"][option] for option in options]


def test_a_test_split_ranks_last_rounds(folder):
    made = data(folder, fit=[], select="test", vocabulary={"words": data(folder).vocab()["words"]})
    batches = drawn(made.loader("test"))
    assert [len(batch["round"]) for batch in batches] == [2, 2]
    task = SimpleNamespace(references="something")
    made.use(task, "test")
    assert task.references is None


def test_without_regions(folder):
    made = data(folder, features=[])
    assert made.sizes() == {"words": len(made.words)}
    assert made.features_rule() is None
    batch = drawn(made.training_loader(dense=False))[0]
    assert batch["feats"].shape == (1, 1, 0)
    assert "size" not in batch
    assert "regions_at" not in batch


# --- rows, packages ---


def test_truth_and_submission(folder, tmp_path):
    made = data(folder)
    rows = [
        {"id": 100 * image + number, "image_id": image, "round_id": number, "ranks": [2, 1, 3, 5, 4], "scores": SCORES}
        for image in (100, 107, 114)
        for number in (1, 2, 3)
    ]
    said = json.loads((folder / "val.json").read_text())["data"]
    full = made.with_truth(rows, "val")
    one = said["dialogs"][1]["dialog"][2]
    assert full[5]["question"] == said["questions"][one["question"]]
    assert full[5]["image_caption"] == said["dialogs"][1]["caption"]
    before = said["dialogs"][1]["dialog"][:2]
    assert full[5]["dialog"] == [[said["questions"][b["question"]], said["answers"][b["answer"]]] for b in before]
    assert full[3]["dialog"] == []
    options = [said["answers"][option] for option in one["answer_options"]]
    assert full[5]["best"] == [[options[place], SCORES[place]] for place in (1, 0, 2, 4, 3)]
    assert (full[5]["gt_index"], full[5]["given"]) == (one["gt_index"], options[one["gt_index"]])
    assert full[5]["rank"] == rows[5]["ranks"][one["gt_index"]]
    judged = json.loads((folder / "val_dense.json").read_text())
    assert [row["relevance"] for row in full if "relevance" in row] == [one["gt_relevance"] for one in judged]
    gains = [row["ndcg"] for row in full if "ndcg" in row]
    assert np.mean(gains) == pytest.approx(DialogMetrics(made.splits["val"]).score(rows).corpus["ndcg"])
    ranked = sum(1 / row["rank"] for row in full) / len(full)
    assert 100 * ranked == pytest.approx(DialogMetrics(made.splits["val"]).score(rows).corpus["mrr"])
    path = made.write_submission(tmp_path / "ranks.json", "val", rows)
    assert "9 rounds" in check_dialog_file(path, folder / "val.json")
    with pytest.raises(UserError, match="no ranks of 1 of 9 rounds"):
        made.write_submission(tmp_path / "less.json", "val", rows[:-1])


def test_rows_of_a_test_split_know_no_answers(folder):
    made = data(folder)
    made.splits["test"] = made.read_split("test")
    said = json.loads((folder / "test.json").read_text())["data"]
    asked = [(one["image_id"], len(one["dialog"])) for one in said["dialogs"]]
    rows = [
        {"image_id": image, "round_id": number, "ranks": [*range(1, 6)], "scores": SCORES} for image, number in asked
    ]
    for row, one in zip(made.with_truth(rows, "test"), said["dialogs"]):
        assert not row.keys() & {"given", "gt_index", "rank", "relevance", "ndcg"}
        assert [question for question, _ in row["dialog"]] == [
            said["questions"][r["question"]] for r in one["dialog"][:-1]
        ]
        assert len(row["best"]) == 5


def test_a_package_keeps_the_most_frequent_answers(folder):
    split = load_split(folder / "train.json")
    counts = Counter(split.said(number)[1] for number in range(split.rounds))
    kept = data(folder, frequent_answers=4).vocab()["frequent_answers"]
    assert [counts[answer] for answer in kept] == sorted(counts.values(), reverse=True)[:4]
    assert len(data(folder).vocab()["frequent_answers"]) == len(counts)
    assert "frequent_answers" not in data(folder, fit=[], words_from=["train"]).vocab()


def test_words_of_a_trained_model(folder):
    words = data(folder).vocab()
    made = data(folder, vocabulary=words, words_from=[])
    assert made.words == WordPiece(words["words"])
    made.expect(SimpleNamespace(meta={"features": made.features_rule(), "text": {"lowercase": True}}))
    with pytest.raises(UserError, match=r"data.lowercase=True, but the model was trained with False"):
        made.expect(SimpleNamespace(meta={"features": made.features_rule(), "text": {"lowercase": False}}))


def test_the_fingerprint_knows_what_matters(folder):
    one = data(folder).fingerprint()
    assert one == data(folder, batch_size=8, cache=None).fingerprint()
    fewer = data(folder, limit=2, vocabulary=data(folder).vocab()).fingerprint()
    assert [name for name in one if one[name] != fewer[name]] == ["dialogs"]


def test_summary(folder):
    assert "5 dialogs of 15 rounds to learn, 3 of them judged" in data(folder).summary()
    assert "no regions" in data(folder, features=[]).summary()


REFUSED = {
    "no split 'tset'": {"test": "tset"},
    "data.select=test: its file hides answers": {"select": "test"},
    "1 files for 2 files of dialogs": {"dialogs": {"train": ["train.json", "val.json"]}, "select": "train"},
}


@pytest.mark.parametrize("line", REFUSED)
def test_refusals(folder, line):
    changes = dict(REFUSED[line])
    if "dialogs" in changes:
        changes["dialogs"] = {"train": [str(folder / name) for name in changes["dialogs"]["train"]]}
    with pytest.raises(UserError, match=line):
        data(folder, **changes)


def test_dense_training_needs_judged_rounds(folder):
    with pytest.raises(UserError, match=r"data.dense has no judged rounds of data.fit=\[train\]"):
        data(folder, dense={}).training_loader(dense=True)
    made = data(folder, dense={})
    made.trainer = SimpleNamespace(lightning_module=SimpleNamespace(main="ndcg", references=None))
    with pytest.raises(UserError, match=r"task.main=ndcg, but data.dense.val judges no round"):
        made.setup("fit")
