"""97 real dialogs of VisDial 1.0 through every step a user takes: import, evaluate, ranks file, score. Nothing is lost.

The features are random. The models are small ones with the vocabulary of BERT, imported from files under published
names: one whole ViLBERT, and one BERT whose other parts are drawn.
"""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from visdial_golden import real_split

import published_vilbert as published
from limner import cli, evaluate
from limner.data.dialog_encoding import DialogEncoder
from limner.data.features import FeatureWriter
from limner.data.wordpiece import WordPiece
from limner.metrics import rows as rows_of
from limner.metrics.visdial import METRICS, ndcg, retrieval
from limner.submit_visdial import write_visdial_submission

SIZES: dict[str, Any] = {"text_hidden": 8, "text_layers": 1, "text_ffn": 12, "positions": 256}
SIZES |= {"image_hidden": 8, "image_layers": 1, "image_heads": 2, "image_ffn": 8, "joint_hidden": 16, "joint_heads": 2}
SIZES |= {"text_connections": [0], "image_connections": [0], "words": 30522}


class World:
    """A folder with the features and two packages, `vilbert` and `bert`; the real files are read where they are."""

    def __init__(self, shared: Path, folder: Path) -> None:
        self.folder, self.vocab = folder, shared / "data/bert_vocab/vocab.txt"
        self.dialogs = shared / "data/visdial_v1_97/visdial_1.0_val_97.json.gz"
        self.dense = shared / "data/visdial_v1_97/visdial_1.0_val_dense_annotations_97.json.gz"
        self.split = real_split(shared)
        with FeatureWriter(folder / "regions.h5", dim=6, extractor="random", provenance={}) as writer:
            for image in self.split.image_id.tolist():
                rng = np.random.default_rng(image)
                boxes = np.sort(rng.uniform(0, 90, (2 + image % 4, 2, 2)), 1).reshape(-1, 4)
                writer.add(image, rng.standard_normal((len(boxes), 6)), boxes, (120, 90))
        torch.save({"model_state_dict": published.state(text_heads=2, **SIZES)}, folder / "basemodel")
        torch.save(published.bert_state(seed=1, text_heads=4, **SIZES), folder / "pytorch_model.bin")
        self.limner("import", "vilbert", folder / "basemodel", "--vocab", self.vocab, "--to", folder / "vilbert",
                    "--model", "text_heads=2", "image_heads=2", "joint_heads=2")  # fmt: skip
        image = [f"{name}={SIZES[name]}" for name in SIZES if name.startswith(("image_h", "image_l", "joint"))]
        self.limner("import", "bert", folder / "pytorch_model.bin", "--vocab", self.vocab, "--to", folder / "bert",
                    "--feature-dim", 6, "--model", "text_heads=4", *image)  # fmt: skip

    def limner(self, *words: Any) -> None:
        assert cli.main([str(word) for word in words]) == 0

    def evaluate(self, model: str, *changes: str, out: str = "out") -> Path:
        """`limner evaluate` of the real dialogs."""
        names = [str(self.folder / name) for name in model.split(",")]
        given = [f"model=[{','.join(names)}]" if len(names) > 1 else f"model={names[0]}"]
        given += ["data=visdial", f"data.dialogs.val={self.dialogs}", f"data.dense.val={self.dense}", "split=val"]
        given += [f"data.features=[{self.folder / 'regions.h5'}]", f"data.cache={self.folder / 'cache'}"]
        given += ["trainer=cpu", "trainer.threads=1", "submission=true", f"out={self.folder / out}"]
        assert evaluate.main([*given, *changes], []) == 0
        return self.folder / out

    def with_rows(self, model: str, rows: int) -> str:
        """A copy of a package that was trained with another `task.rows`."""
        name = f"{model}-{rows}"
        shutil.copytree(self.folder / model, self.folder / name, dirs_exist_ok=True)
        path = self.folder / name / "model.json"
        told = json.loads(path.read_text())
        told["config"]["task"]["rows"] = rows
        path.write_text(json.dumps(told))
        return name


@pytest.fixture(scope="module")
def world(shared, tmp_path_factory):
    return World(shared, tmp_path_factory.mktemp("real"))


def submission(out: Path) -> dict[tuple[int, int], list[int]]:
    return {
        (one["image_id"], one["round_id"]): one["ranks"] for one in json.loads((out / "submission.json").read_text())
    }


def scores(out: Path) -> dict[int, np.ndarray]:
    return {row["id"]: np.array(row["scores"]) for row in rows_of.read(out / "rows.jsonl.gz")}


# --- encoding ---


@pytest.mark.parametrize(("max_length", "shortened", "cut"), [(256, 0, 0), (128, 164, 0), (64, 707, 11)])
def test_no_round_is_dropped(world, max_length, shortened, cut):
    """Of the 970 rounds; what is shortened is counted, and still ends with its question and its whole candidate."""
    words = WordPiece.load(world.vocab)
    encoder = DialogEncoder(world.split, words, max_length=max_length)
    assert (encoder.shortened, encoder.cut) == (shortened, cut)
    assert len(world.split.ranked) == 970
    assert (world.split.option_counts == 100).all()
    whole = np.flatnonzero(~encoder.contexts.cut)
    rounds = np.random.default_rng(0).choice(whole, 20, replace=False)
    rows, first = encoder.options(rounds)
    assert rows.lengths.max() <= max_length
    tokens, _ = encoder.padded(rows)
    for number, row in zip(rounds.tolist(), (first[:-1] + 7).tolist()):
        question = words.encode(world.split.questions[world.split.question[number]])
        option = int(world.split.options_of(number)[7])
        said = [*question, words.sep, *words.encode(world.split.answers[option]), words.sep]
        found = tokens[row, : rows.lengths[row]].tolist()
        assert found[0] == words.cls
        assert found[-len(said) :] == said


# --- evaluation ---


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vilbert", "bert"])
def test_all_97_dialogs(world, shared, capsys, model):
    """Every image and round in the ranks file; metrics as computed here from the official reader's arrays."""
    out = world.evaluate(world.with_rows(model, 20_000), out=model)  # larger parts are faster for so small a model
    assert "970 of 970 items" in capsys.readouterr().out
    ranked = submission(out)
    golden = np.load(shared / "golden/visdial/metrics_visdialconv97.npz")
    images = golden["image_id"].tolist()
    assert ranked.keys() == {(image, number) for image in images for number in range(1, 11)}
    rank = np.array([[ranked[image, number] for number in range(1, 11)] for image in images])
    assert (np.sort(rank, -1) == np.arange(1, 101)).all()
    world.limner("submission", "check", out / "submission.json", world.dialogs)
    assert "good: ranks of 970 rounds of 97 dialogs" in capsys.readouterr().out
    truth = np.take_along_axis(rank, golden["gt_option_inds"][..., None], -1)
    judged = rank[np.arange(97), golden["round_id"] - 1]
    expected = {**retrieval(truth.ravel()), "ndcg": 100 * ndcg(judged, golden["gt_relevance"]).mean()}
    found = json.loads((out / "metrics.json").read_text())
    metrics = {"r@1": "r1", "r@5": "r5", "r@10": "r10", "mean": "mean_rank", "mrr": "mrr", "ndcg": "ndcg"}
    assert {name: found["metrics"][metrics[name]] for name in METRICS} == pytest.approx(expected, abs=1e-9)
    assert sum(group["rounds"] for group in found["per_round"].values()) == found["items"] == 970
    world.limner("submission", "score", out / "submission.json", world.dialogs, "--dense", world.dense)
    told = dict(line.rsplit(maxsplit=4)[:2] for line in capsys.readouterr().out.splitlines()[:6])
    assert float(told["NDCG"]) == pytest.approx(expected["ndcg"], abs=0.005)
    assert float(told["Mean rank"]) == pytest.approx(expected["mean"], abs=0.005)


def test_the_official_ranks_score_as_the_official_code_says(world, shared, tmp_path, capsys):
    folder = shared / "golden/visdial"
    golden = np.load(folder / "metrics_visdialconv97.npz")
    official = json.loads((folder / "metrics_visdialconv97.json").read_text())["metrics"]
    rows = [
        {"image_id": image, "round_id": k + 1, "ranks": golden["ranks"][n, k].astype(int)}
        for n, image in enumerate(golden["image_id"].tolist())
        for k in range(10)
    ]
    assert write_visdial_submission(tmp_path / "ranks.json", rows) == 970
    world.limner("submission", "score", tmp_path / "ranks.json", world.dialogs, "--dense", world.dense)
    told = dict(line.rsplit(maxsplit=4)[:2] for line in capsys.readouterr().out.splitlines()[:6])
    names = {"NDCG": "ndcg", "MRR": "mrr", "R@1": "r@1", "R@5": "r@5", "R@10": "r@10", "Mean rank": "mean"}
    for label, name in names.items():
        expected = official[name] * (1 if name == "mean" else 100)
        assert float(told[label]) == pytest.approx(expected, abs=0.0051)


VARIANTS = {
    "one dialog at a time": ("data.eval_batch_size=1", 2048),
    "all at once": ("data.eval_batch_size=50", 2048),
    "small parts": ("data.eval_batch_size=8", 300),
    "large parts": ("data.eval_batch_size=8", 50_000),
}


@pytest.fixture(scope="module", params=["32-true", "64-true"])
def plain(request, world):
    """An evaluation of some dialogs as it comes, and its precision."""
    return world.evaluate("vilbert", *some(request.param), out=f"plain-{request.param}"), request.param


def some(precision: str) -> tuple[str, str]:
    return "data.limit=5", f"trainer.precision={precision}"


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_ranks_do_not_depend_on_batches(world, plain, variant):
    """In double precision they are equal. In single precision only options may change places whose scores are equal in
    their first six digits."""
    first, precision = plain
    change, rows = VARIANTS[variant]
    second = world.evaluate(world.with_rows("vilbert", rows), *some(precision), change, out="variant")
    ours, theirs = submission(first), submission(second)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 50
    if precision == "64-true":
        assert ours == theirs
    for one, other, score in zip(ours.values(), theirs.values(), scores(first).values()):
        given, again = score[np.argsort(one)], score[np.argsort(other)]
        assert np.abs(given - again).max() <= 2e-5  # rows keep five digits


# --- ensembles ---


@pytest.mark.slow
def test_an_ensemble_has_the_mean_of_the_scores(world):
    """Two models with different heads; what is ranked is their mean."""
    few = ("data.limit=3", "trainer.precision=64-true")
    one, other = (scores(world.evaluate(name, *few, out=f"few-{name}")) for name in ("vilbert", "bert"))
    out = world.evaluate("vilbert,bert", *few, out="few-both")
    both = scores(out)
    assert len(both) == 30
    for number, found in both.items():
        assert np.abs(found - (one[number] + other[number]) / 2).max() < 1.1e-5  # each is rounded to five digits
        ranked = submission(out)[number // 100, number % 100]
        in_order = found[np.argsort(ranked)]
        assert (np.diff(in_order) <= 1e-5).all()
    assert any(np.abs(one[number] - other[number]).max() > 0.1 for number in both)


def test_models_with_other_words_do_not_rank_together(world, tmp_path, capsys):
    lines = world.vocab.read_text(encoding="utf-8").split("\n")
    lines[2000], lines[3000] = lines[3000], lines[2000]
    (tmp_path / "other.txt").write_text("\n".join(lines), encoding="utf-8")
    world.limner("import", "vilbert", world.folder / "basemodel", "--vocab", tmp_path / "other.txt", "--to",
                 tmp_path / "other", "--model", "text_heads=2", "image_heads=2", "joint_heads=2")  # fmt: skip
    given = [f"model=[{world.folder / 'vilbert'},{tmp_path / 'other'}]", "data=visdial", "split=val", "trainer=cpu"]
    given += [f"data.dialogs.val={world.dialogs}", f"data.features=[{world.folder / 'regions.h5'}]"]
    given += ["data.dense.val=null"]
    assert cli.main(["evaluate", *given, f"out={tmp_path / 'out'}"]) == 2
    line = capsys.readouterr().err
    assert line == "limner evaluate: model: package 2 reads texts in another way than package 1: " + (
        "they cannot rank together\n"
    )
    assert not (tmp_path / "out").exists()


def test_packed_files_are_asked_for_by_name(world, tmp_path, capsys):
    """A .json.gz is read as it is; one that is not there is missed before anything is read."""
    with gzip.open(world.dialogs) as file:
        assert file.read(1) == b"{"
    given = [f"model={world.folder / 'vilbert'}", "data=visdial", f"data.dialogs.val={tmp_path / 'none.json.gz'}"]
    assert cli.main(["evaluate", *given]) == 2
    assert "data.dialogs.val: there is no file" in capsys.readouterr().err
