"""The caption data module: which images, captions, words and regions reach the model, and what is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tiny_captions import (
    DIM,
    REGIONS,
    SAID,
    TRAINED,
    WORDS,
    coco,
    data,
    drawn,
    karpathy,
    make_files,
    said_in,
    settings,
    spoken,
    write_store,
)

from limner.data.captions import CaptionData
from limner.data.features import FeatureStore
from limner.errors import UserError
from limner.schema.captions_data import CaptionData as Schema
from limner.weights.package import Package


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("captions"))


def written(path, content) -> str:
    path.write_text(json.dumps(content))
    return str(path)


# --- which images, captions and words ---


def test_what_is_trained_on(folder):
    made = data(folder)
    assert made.words.words == ("<unk>", *WORDS)
    assert made.sizes() == {"words": 13, "feature_dim": DIM}
    assert made.vocab() == {"words": ["<unk>", *WORDS]}
    assert made.items.split.image_id.tolist() == [10, 11, 12, 13]  # train and restval
    assert made.splits["val"].image_id.tolist() == [20, 21]
    assert "test" not in made.splits
    arguments = made.task_arguments()
    assert arguments["vocabulary"] is made.words
    assert dict(arguments["references"]) == {i: [spoken(raw) for raw in said] for i, said in TRAINED.items()}
    line = made.summary()
    assert line.startswith("data: 4 images with 10 captions to learn (longest 6 words, 0.00 % cut at 16), 13 words ")
    assert "(0.00 % unknown), 7 images x 6 features" in line


def test_rare_words_are_unknown(folder):
    made = data(folder, min_count=3, max_length=4)
    assert made.words.words == ("<unk>", *WORDS[:7])
    spoken_words = [w for said in TRAINED.values() for raw in said for w in spoken(raw)]
    rare = sum(w not in WORDS[:7] for w in spoken_words)
    assert f"({100 * rare / len(spoken_words):.2f} % unknown)" in made.summary()
    assert "40.00 % cut at 4" in made.summary()
    found = {k: v for batch in drawn(made.train_dataloader()) for k, v in said_in(batch, made.words).items()}
    assert found[10] == ["a <unk> on a", "the <unk> <unk>"]


def test_words_of_other_splits(folder):
    assert "zebra" not in data(folder).words.ids
    assert "zebra" in data(folder, words_from=["train", "val"]).words.ids
    assert data(folder, words_from=["test"]).words.words == ("<unk>", "a", "cat")  # of no other use here
    only = data(folder, words_from=["val"]).words
    assert set(only.words) == {"<unk>", *(w for said in SAID["val"].values() for raw in said for w in spoken(raw))}


def test_a_given_vocabulary_is_used_as_it_is(folder):
    given = {"words": ["a", "dog", "<unk>"]}
    made = data(folder, vocabulary=given, min_count=100)
    assert made.vocab() == given
    assert made.sizes()["words"] == 3
    assert said_in(drawn(made.train_dataloader())[0], made.words)[12][0] == "a <unk> dog"


def test_train_and_val_together(folder):
    made = data(folder, fit=["train", "val"])
    assert made.items.split.image_id.tolist() == [10, 11, 12, 13, 20, 21]
    assert "zebra" in made.words.ids
    assert set(made.task_arguments()["references"]) == {*TRAINED, *SAID["val"]}


def test_limit(folder):
    made = data(folder, limit=1, min_count=50)
    assert made.items.split.image_id.tolist() == [10]
    assert made.splits["val"].image_id.tolist() == [20]
    assert set(made.words.words) == {"<unk>", "a", "cat", "on", "mat", "the", "sits"}  # a count of 50 is not to be had
    assert len(data(folder, limit=1000).items.split) == 4


@pytest.mark.parametrize("kind", ["coco", "own", "two files"])
def test_files_of_other_kinds(folder, tmp_path, kind):
    """One file a split, in COCO's format or one's own, gives what Karpathy's file gives."""
    shown = {"train": TRAINED, "val": SAID["val"]}
    if kind == "coco":
        files = {split: written(tmp_path / f"{split}.json", coco(said)) for split, said in shown.items()}
    elif kind == "own":
        files = {s: written(tmp_path / f"{s}.json", {str(i): c for i, c in said.items()}) for s, said in shown.items()}
    else:
        files = {"val": str(folder / "dataset.json")}
        files["train"] = [written(tmp_path / f"{s}.json", coco(SAID[s])) for s in ("train", "restval")]
    made = data(folder, captions=files, splits_in_file={"train": None})
    one = data(folder)
    assert made.fingerprint() == one.fingerprint()
    assert dict(made.references("fit", raw=True)) == dict(one.references("fit", raw=True))
    for mine, its in zip(drawn(made.train_dataloader()), drawn(one.train_dataloader())):
        assert torch.equal(mine["tokens"], its["tokens"])


def test_a_file_is_read_once(folder, monkeypatch):
    from limner.data import captions as module

    read, paths = module.read_captions, []
    monkeypatch.setattr(module, "read_captions", lambda path, **how: paths.append(path) or read(path, **how))
    data(folder, test="test")
    assert paths == [str(folder / "dataset.json")]


# --- what is refused ---


def test_a_split_that_is_not_there(folder):
    with pytest.raises(UserError, match=r"data\.captions has no split 'dev'; it has test, train, val$"):
        data(folder, select="dev")
    with pytest.raises(UserError, match=r"dataset\.json: no image is of the split rest; it has train, restval, val, "):
        data(folder, splits_in_file={"train": ["train", "rest"]})


def test_training_images_need_a_caption(folder, tmp_path):
    for said in ([], ["."]):  # a full stop alone is no word
        path = written(tmp_path / "train.json", karpathy({"train": {**SAID["train"], 13: said, 20: said}}))
        chosen = {"captions": {"train": path, "val": str(folder / "dataset.json")}, "splits_in_file": {}}
        with pytest.raises(UserError, match=r"data\.captions: .*data\.fit=\[train\] have no caption: ids 13, 20; l"):
            data(folder, **chosen)


def test_the_split_that_selects_needs_captions(folder, tmp_path):
    files = {"train": str(folder / "dataset.json"), "val": written(tmp_path / "val.json", {"20": [], "21": []})}
    with pytest.raises(UserError, match=r"data\.captions\.val: has no captions, but data\.select=val picks"):
        data(folder, captions=files)
    made = data(folder, captions=files, fit=[], words_from=[], vocabulary={"words": ["a"]})  # limner evaluate
    assert [batch["id"].tolist() for batch in drawn(made.loader("val"))] == [[20, 21]]
    with pytest.raises(UserError, match=r"data\.words_from: there are no captions to take words from in val$"):
        data(folder, captions=files, words_from=["val"])


def test_images_without_features(folder, tmp_path):
    store = write_store(tmp_path / "few.h5", dict.fromkeys((10, 11, 12, 13, 20), 1))
    with pytest.raises(UserError, match=r"few\.h5: no features for 1 of 2 images \(ids 21\)"):
        data(folder, features=[str(store)])
    with pytest.raises(UserError, match=r"data\.features is empty: a captioner looks at regions"):
        data(folder, features=[])


# --- given global vectors ---


def test_given_vectors(folder, tmp_path):
    vectors = write_store(tmp_path / "vectors.h5", dict.fromkeys(REGIONS, 1), dim=4, extractor="fc", seed=9)
    made = data(folder, global_features=[str(vectors)])
    store = FeatureStore(vectors)
    for loader in (made.train_dataloader(), made.loader("val")):
        for batch in drawn(loader):
            want = store.read(store.positions(batch["id"].numpy())).feats[:, 0]
            assert batch["global"].dtype == torch.float32
            assert np.array_equal(batch["global"].numpy(), want.astype(np.float32))
    assert made.sizes() == {"words": 13, "feature_dim": DIM, "global_dim": 4}
    rule = made.features_rule()
    assert rule["global"] == {"dim": 4, "extractor": "fc"}
    assert made.fingerprint()["global_features"] == store.fingerprint
    made.expect(Package(None, {}, {}, {"features": rule}))
    imported = {**rule, "global": {"dim": 4, "extractor": "unknown"}}
    made.expect(Package(None, {}, {}, {"features": imported}))
    with pytest.raises(UserError, match=r"data\.global_features: \{'dim': 4, .* trained with \{'dim': 5"):
        made.expect(Package(None, {}, {}, {"features": {**rule, "global": {"dim": 5, "extractor": "unknown"}}}))
    with pytest.raises(UserError, match=r"data\.global_features: none, but the model was trained with \{'dim': 4, "):
        data(folder).expect(Package(None, {}, {}, {"features": rule}))
    with pytest.raises(UserError, match=r"data\.global_features: \{'dim': 4.*, but the model was trained with none"):
        made.expect(Package(None, {}, {}, {"features": data(folder).features_rule()}))
    with pytest.raises(UserError, match=r"regions\.h5: these images have not one vector each: 10, 11, 13; data"):
        data(folder, global_features=[str(folder / "regions.h5")])


def test_a_model_is_evaluated_on_its_own_features_only(folder):
    made = data(folder)
    made.expect(Package(None, {}, {}, {"features": made.features_rule()}))
    with pytest.raises(UserError, match=r"data\.features: dim is 6, but the model was trained on 2048"):
        made.expect(Package(None, {}, {}, {"features": {**made.features_rule(), "dim": 2048}}))


# --- resume and reports ---


def changed(**changes):
    return {**SAID, **changes}


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (changed(train={**SAID["train"], 10: ["A cat on a mat.", "The dog sits."]}), {"captions", "words"}),
        (changed(train={**SAID["train"], 10: ["The cat sits.", "A cat on a mat."]}), {"captions"}),
        (changed(restval={}, train={**SAID["train"], 14: SAID["restval"][13]}), {"captions"}),
        (changed(val={**SAID["val"], 20: ["The dog sits on the mat."]}), {"captions"}),
        (changed(test={30: ["Another cat."]}), set()),  # nobody looks at it
    ],
)
def test_fingerprint_tells_what_changed(folder, tmp_path, said, named):
    path = written(tmp_path / "dataset.json", karpathy(said))
    store = str(write_store(tmp_path / "regions.h5", {**REGIONS, 14: 1}))
    chosen = {"splits_in_file": {"train": ["train"] + ["restval"] * bool(said["restval"])}, "features": [store]}
    before = data(folder, features=[store]).fingerprint()
    now = data(folder, captions=dict.fromkeys(("train", "val"), path), **chosen).fingerprint()
    assert {name for name in before if before[name] != now[name]} == named


def test_fingerprint_follows_settings_and_features(folder, tmp_path):
    made = data(folder)
    assert made.state_dict() == {"data_fingerprint": data(folder).fingerprint()}
    other = write_store(tmp_path / "regions.h5", REGIONS, seed=1)
    for changes, named in (
        ({"features": [str(other)]}, {"features"}),
        ({"max_length": 3}, {"captions"}),
        ({"min_count": 2}, {"captions", "words"}),
    ):
        now = data(folder, **changes).fingerprint()
        assert {name for name, value in made.fingerprint().items() if now[name] != value} == named


def test_what_people_said(folder, tmp_path):
    made = data(folder, test="test")
    task = SimpleNamespace(references=None)
    made.use(task, "val")
    assert task.references == SAID["val"]
    rows = [{"id": 20, "caption": "a dog"}, {"id": 21, "caption": "a ball"}]
    assert made.with_truth(rows, "val") == [{**row, "references": SAID["val"][row["id"]]} for row in rows]
    files = {"val": written(tmp_path / "val.json", coco({20: ["One."], 21: []}))}
    part = data(folder, captions=files, fit=[], words_from=[], vocabulary={"words": ["a"]})
    assert [row["references"] for row in part.with_truth(rows, "val")] == [["One."], []]
    part.use(task, "val")
    assert task.references == {20: ["One."]}
    files = {"val": written(tmp_path / "bare.json", {"images": [{"id": 20}, {"id": 21}]})}
    bare = data(folder, captions=files, fit=[], words_from=[], vocabulary={"words": ["a"]})
    assert bare.task_arguments()["references"] is None
    assert bare.with_truth(rows, "val") == rows
    bare.use(task, "val")
    assert task.references is None


def test_setup_gives_the_task_its_references(folder):
    made = data(folder)
    task = SimpleNamespace(references=None)
    made.trainer = SimpleNamespace(lightning_module=task)
    made.setup("fit")
    assert task.references == SAID["val"]


def test_submission(folder, tmp_path):
    made = data(folder)
    rows = [{"id": i, "image_id": i, "caption": "a dog", "logp": -1.0} for i in SAID["val"]]
    path = made.write_submission(tmp_path / "captions.json", "val", rows)
    listed = json.loads(path.read_text())
    assert sorted((entry["image_id"], entry["caption"]) for entry in listed) == [(20, "a dog"), (21, "a dog")]
    with pytest.raises(UserError, match=r"21|20"):
        made.write_submission(tmp_path / "less.json", "val", rows[:1])


# --- the config ---


def test_every_setting_is_used(folder):
    """A key of the schema that the module never looks at would be a promise broken."""
    looked = set()

    class Watched(dict):
        def __getitem__(self, key):
            looked.add(key)
            return super().__getitem__(key)

    made = CaptionData(**settings(folder, test="test", limit=3))
    made.settings = Watched(made.settings)
    made.prepare()
    drawn(made.train_dataloader())
    drawn(made.val_dataloader())
    made.features_rule()
    at_once = {"features", "global_features"}  # by the constructor
    for_the_card = {"licence"}  # by build.save_package
    assert looked | at_once | for_the_card | {"min_count"} == set(made.settings)


@pytest.mark.parametrize(
    ("data_says", "model_says", "faults"),
    [
        ({}, {}, []),
        ({"features": [], "fit": []}, {}, ["data.features is empty", "data.fit is empty"]),
        ({}, {"global_source": "given"}, ["data.global_features is empty but model.global_source=given needs"]),
        ({"global_features": ["x"]}, {"global_source": "mean"}, ["data.global_features is used only with"]),
        ({"global_features": ["x"]}, {"global_source": "given"}, []),
    ],
)
def test_what_must_fit_together(data_says, model_says, faults):
    config = OmegaConf.create({"features": ["x.h5"], "fit": ["train"], "global_features": [], **data_says})
    found = Schema.train_faults(config, OmegaConf.create(model_says))
    assert len(found) == len(faults)
    assert all(line.startswith(start) for line, start in zip(found, faults))
