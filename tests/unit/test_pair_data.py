"""The data modules of pretraining: batches, masks that repeat, shares of processes, class targets, what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_pairs import CLASSES, REGIONS, data, drawn, make_files, probabilities, write_classes

from limner.data.pairs import PairData
from limner.errors import UserError

KINDS = ("captions", "questions")
TRAINED = {"captions": 10, "questions": 7}
HELD_OUT = {"captions": 3, "questions": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(params=KINDS)
def made(folder, request) -> PairData:
    return data(folder, request.param)


def equal(one, other) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k] for k in a)
        for a, b in zip(one, other)
    )


def by_item(batches) -> dict[int, tuple]:
    """What each pair of some batches is, whatever the batch around it: tokens, masks, label, regions, targets."""
    found = {}
    for batch in batches:
        words = iter(batch["word_targets"].tolist())
        targets = iter(batch["region_targets"].tolist()) if "region_targets" in batch else iter(())
        for n, number in enumerate(batch["id"].tolist()):
            length = int(batch["text_mask"][n].sum())
            row = int(batch["image"][n])
            seen = [n for n, there in enumerate(batch["regions_at"][n].tolist()) if there]
            found[number] = (
                batch["tokens"][n, :length].tolist(),
                batch["segments"][n, :length].tolist(),
                [next(words) for there in batch["words_at"][n].tolist() if there],
                int(batch["labels"][n]),
                int(batch["image_id"][n]),
                seen,
                batch["blanked"][n].nonzero().flatten().tolist(),
                [next(targets) for _ in seen] if "region_targets" in batch else None,
                batch["feats"][row][batch["mask"][row]].tolist(),
            )
    return found


def test_an_epoch(made):
    batches = drawn(made.train_dataloader())
    assert len(by_item(batches)) == TRAINED[made.source]
    for batch in batches:
        items, width = batch["tokens"].shape
        assert batch["segments"].shape == batch["text_mask"].shape == batch["words_at"].shape == (items, width)
        assert batch["dialog"].tolist() == list(range(items))
        assert batch["word_targets"].shape == (int(batch["words_at"].sum()),)
        images, regions = batch["mask"].shape
        assert batch["regions_at"].shape == batch["blanked"].shape == (items, 1 + regions)
        assert images <= items
        assert not batch["regions_at"][:, 0].any()  # the whole image is never predicted
        real = torch.cat((torch.ones(items, 1, dtype=torch.bool), batch["mask"][batch["image"]]), 1)
        assert not ((batch["regions_at"] | batch["blanked"]) & ~real).any()
        assert not (batch["blanked"][:, 1:] & ~batch["regions_at"][:, 1:]).any()
        assert batch["size"].tolist() == [[100 + image, 90] for image in batch["image_id"].tolist()]


def test_some_images_have_no_region_to_predict(made):
    """No region more is predicted, as in dialogs."""
    made.settings["mask_regions"] = 0.05
    batches = [batch for _ in range(3) for batch in drawn(made.train_dataloader())]
    assert not torch.cat([batch["regions_at"].any(1) for batch in batches]).all()


def test_the_detectors_classes(made):
    """In reading order; float16 as stored."""
    made.settings["mask_regions"] = 0.8
    seen = 0
    for batch in drawn(made.train_dataloader()):
        which, region = batch["regions_at"].nonzero().unbind(1)
        expected = [
            probabilities(image := int(batch["image_id"][w]), REGIONS[image])[r - 1]
            for w, r in zip(which.tolist(), region.tolist())
        ]
        assert batch["region_targets"].shape == (len(which), CLASSES)
        assert batch["region_targets"].dtype == torch.float16
        if expected:
            np.testing.assert_allclose(batch["region_targets"], np.stack(expected), atol=1e-3)
        seen += len(expected)
    assert seen > 5


def test_the_whole_image_is_background(made):
    at = torch.tensor([[True, True, False, False, False], [False, False, True, False, False]])
    found = made.class_targets(np.array([11, 10]), at)
    assert found[0].tolist() == [1, 0, 0, 0, 0]
    np.testing.assert_allclose(found[1:], [probabilities(11, 4)[0], probabilities(10, 2)[1]], atol=1e-3)


def test_epochs_differ_and_repeat(made, folder):
    loader = made.train_dataloader()
    first = drawn(loader)
    loader.set_epoch(1)
    second = drawn(loader)
    assert not equal(first, second)
    assert by_item(first) != by_item(second)  # not the order alone
    loader.set_epoch(0)
    assert equal(first, drawn(loader))
    again = data(folder, made.source).train_dataloader()
    again.load_state_dict({"epoch": 1, "batch": 1})
    assert equal(drawn(again), second[1:])


def test_processes_share_what_one_would_read(made, monkeypatch):
    alone = by_item(drawn(made.train_dataloader()))
    held = by_item(drawn(made.loader("val")))
    shares, evaluated = [], []
    for rank in range(2):
        monkeypatch.setattr(made, "share", lambda rank=rank: (rank, 2))
        shares += drawn(made.train_dataloader())
        evaluated += drawn(made.loader("val"))
    assert {k: v[:5] for k, v in by_item(shares).items()} == {k: v[:5] for k, v in alone.items()}
    assert {k: v[5:8] for k, v in by_item(shares).items()} == {k: v[5:8] for k, v in alone.items()}
    assert by_item(evaluated) == held


def test_an_evaluation_repeats_for_every_run(folder):
    """Nor seed, batch size, epoch change what is hidden: numbers of runs compare."""
    for kind in KINDS:
        one = by_item(drawn(data(folder, kind).loader("val")))
        words = data(folder, kind).vocab()
        other = data(folder, kind, seed=9, eval_batch_size=3, batch_size=2, vocabulary=words)
        assert by_item(drawn(other.loader("val"))) == one
        assert len(one) == HELD_OUT[kind]


def test_validation_keeps_an_image_together(made):
    images = [image for batch in drawn(made.val_dataloader()) for image in batch["image_id"].tolist()]
    assert images == sorted(images)


def test_resident_regions(folder):
    made = data(folder, resident=True)
    batch = drawn(made.train_dataloader())[0]
    assert "feats" not in batch
    plain = drawn(data(folder).train_dataloader())[0]
    filled = made.on_after_batch_transfer(batch, 0)
    assert all(torch.equal(filled[name], plain[name]) for name in plain if torch.is_tensor(plain[name]))


def test_hidden_words(folder):
    every = {}
    for how in ("bert", "mask"):
        made = data(folder, mask_words=1.0, hidden_words=how)
        read = [batch["tokens"][batch["words_at"]] for batch in drawn(made.train_dataloader())]
        every[how] = (torch.cat(read) == made.words.mask).float().mean().item()
    assert every["mask"] == 1
    assert 0.6 < every["bert"] < 0.95


# --- what regions are predicted as ---


def test_features_where_there_are_no_classes(folder):
    made = data(folder, store="plain")
    assert made.sizes()["region_classes"] == made.store.dim
    assert "region_targets" not in drawn(made.train_dataloader())[0]
    assert "region_targets" not in made.fingerprint()
    with pytest.raises(UserError, match=r"plain.h5: keeps no class_probs .* data.region_targets=classes"):
        data(folder, store="plain", region_targets="classes").sizes()


def test_features_where_they_are_wanted(folder):
    made = data(folder, region_targets="features")
    assert made.sizes()["region_classes"] == made.store.dim
    assert "region_targets" not in drawn(made.train_dataloader())[0]
    assert data(folder).sizes()["region_classes"] == CLASSES
    assert data(folder).fingerprint()["region_targets"] == "5 classes"


def test_no_masked_regions(folder):
    made = data(folder, mask_regions=0)
    batch = drawn(made.train_dataloader())[0]
    assert not {"regions_at", "blanked", "region_targets"} & set(batch)
    assert "region_classes" not in made.sizes()


def test_without_regions(folder):
    made = data(folder, features=[])
    batch = drawn(made.train_dataloader())[0]
    assert made.sizes() == {"words": len(made.words)}
    assert batch["feats"].shape == (1, 1, 0)
    assert "no regions" in made.summary()


# --- words, truth, refusals ---


def test_a_model_that_reads_otherwise(folder):
    made = data(folder)
    made.expect(SimpleNamespace(meta={"features": made.features_rule(), "text": {"lowercase": True}}))
    with pytest.raises(UserError, match=r"data.lowercase=True, but the model was trained with False"):
        made.expect(SimpleNamespace(meta={"features": made.features_rule(), "text": {"lowercase": False}}))


def test_words_are_carried_on(folder):
    """The same parts in the next stage; learned ones spell every printable character."""
    first = data(folder, words_from=["train"])
    second = data(folder, "questions", vocabulary=first.vocab(), words_from=[])
    assert second.words == first.words
    assert first.words.unk not in first.words.encode("What's (not) in [these] captions? 3+4=7; a|b~c@d")


def test_rows_with_their_text(made):
    rows = [{"id": number} for batch in drawn(made.loader("val")) for number in batch["id"].tolist()]
    said = {row["id"]: row["text"] for row in made.with_truth(rows[::-1], "val")}
    for batch in drawn(made.loader("val")):
        tokens = batch["tokens"].clone()
        tokens[batch["words_at"]] = batch["word_targets"]
        for number, row, mask in zip(batch["id"].tolist(), tokens, batch["text_mask"]):
            assert said[number] == made.words.decode(row[mask].tolist())
    with pytest.raises(UserError, match="no evaluation server"):
        made.write_submission(None, "val", rows)


def test_the_fingerprint_knows_what_matters(folder):
    for kind in KINDS:
        one = data(folder, kind)
        assert one.fingerprint() == data(folder, kind, batch_size=2).fingerprint()
        fewer = data(folder, kind, limit=2, vocabulary=one.vocab()).fingerprint()
        assert [name for name, value in one.fingerprint().items() if fewer[name] != value] == [kind]


def test_summary(folder):
    assert "10 captions about 4 images to learn" in data(folder).summary()
    assert "masked regions as 5 classes" in data(folder).summary()
    assert "7 questions about 3 images to learn" in data(folder, "questions", store="plain").summary()
    assert "masked regions as features" in data(folder, store="plain").summary()


REFUSED = {
    "data.captions has no split 'tset'; it has test, train, val": {"test": "tset"},
    "data.questions has no split 'x'; it has train, val": {"kind": "questions", "select": "x"},
    r"data.annotations.val: 0 files for 1 question files": {"kind": "questions", "annotations": {}, "fit": []},
    r"data.captions.val: has no text about any image": {"captions": {"val": "empty.json"}, "fit": [], "words_from": []},
}


@pytest.mark.parametrize("line", REFUSED)
def test_refusals(folder, line):
    (folder / "empty.json").write_text(json.dumps({"10": []}))
    changes = dict(REFUSED[line])
    if "captions" in changes:
        changes["captions"] = {split: str(folder / name) for split, name in changes["captions"].items()}
    with pytest.raises(UserError, match=line):
        data(folder, vocabulary=data(folder).vocab(), **changes)


def test_images_without_a_size(folder, tmp_path):
    from tiny_captions import write_store

    write_store(tmp_path / "sizeless.h5", REGIONS, sizes=False)
    with pytest.raises(UserError, match="does not know the width and height of images 10, 11, 12, 13"):
        data(folder, features=[str(tmp_path / "sizeless.h5")], select="train")
    with pytest.raises(UserError, match="no features for"):
        data(folder, features=[str(write_classes(tmp_path / "few.h5", {10: 2}))])
