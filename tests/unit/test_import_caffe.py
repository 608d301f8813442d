"""`limner import caffe-captioner`: a package that computes what the release's prototxt says, here in plain NumPy."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch

from limner.cli import main
from limner.weights import package
from published_captioners import CAFFE_WORDS, HIDDEN, REGION, ROWS, caffe, write_caffe


@pytest.fixture
def files(tmp_path):
    return write_caffe(tmp_path)


def words(folder, to="package", *, file="lstm.caffemodel.h5", vocab="train_vocab.txt") -> list[str]:
    given = ["import", "caffe-captioner", str(folder / file), "--vocab", str(folder / vocab)]
    return [*given, "--to", str(folder / to)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_node(x, state, cell, weight, bias):
    """Caffe's LSTMNode: one matrix over input and state, gates in the order input, forget, output, candidate."""
    i, f, o, g = np.split(weight @ np.concatenate([x, state]) + bias, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def prototxt(blobs, regions, ids):
    """The words' scores at each step, for one image's (R, D) regions and the release's ids that are read."""
    blobs = {layer: [blob.astype(np.float64) for blob in given] for layer, given in blobs.items()}
    mean = regions.mean(0)
    keys = regions @ blobs["fc"][0].T
    h1 = c1 = h2 = c2 = np.zeros(HIDDEN)
    scores, weights = [], []
    for word in ids:
        embedded = blobs["embedding"][0][word]
        h1, c1 = lstm_node(np.concatenate([embedded, mean, h2]), h1, c1, *blobs["lstm1"])
        energy = np.tanh(keys + blobs["hidden_att_0"][0] @ h1) @ blobs["predict_att_0"][0][0]
        alpha = np.exp(energy - energy.max())
        alpha /= alpha.sum()
        h2, c2 = lstm_node(np.concatenate([h1, alpha @ regions]), h2, c2, *blobs["lstm2"])
        scores.append(blobs["predict"][0] @ h2 + blobs["predict"][1])
        weights.append(alpha)
    return np.array(scores), weights


def test_the_package_computes_what_the_prototxt_says(files, capsys):
    assert main(words(files)) == 0
    line = capsys.readouterr().out
    assert "raw regions of 6 numbers, their mean as the global vector" in line
    assert "6 words" in line
    made = package.read(files / "package")
    assert made.vocab["words"] == CAFFE_WORDS[1:]
    rng = np.random.default_rng(1)
    counts = [4, 2, 3]
    feats, mask = np.zeros((3, 4, REGION)), np.zeros((3, 4), bool)
    for image, count in enumerate(counts):
        feats[image, :count], mask[image, :count] = rng.normal(size=(count, REGION)), True
    ids = rng.integers(1, ROWS, (3, 5))
    ids[:, 0] = 0  # "." begins a caption
    model = made.model.double()
    state = model.begin(torch.from_numpy(feats), torch.from_numpy(mask))
    for t in range(5):
        ours = torch.from_numpy(np.where(ids[:, t] == 0, ROWS, ids[:, t] - 1))  # the start is V+1 here
        step = model.step(ours, state)
        state = step.state
        for image, count in enumerate(counts):
            scores, weights = prototxt(caffe(), feats[image, :count], ids[image, : t + 1])
            theirs = np.concatenate([scores[-1][1:], scores[-1][:1]])  # the end is last here
            np.testing.assert_allclose(step.logits[image].detach(), theirs, atol=1e-12)
            np.testing.assert_allclose(step.attention[image, :count].detach(), weights[-1], atol=1e-12)


def test_it_is_evaluated_by_the_rules_of_the_release(files):
    main([*words(files), "--licence", "CC BY 4.0"])
    described = json.loads((files / "package/model.json").read_text())
    decode = described["config"]["decode"]
    assert decode == {"_target_": "limner.decode.Beam", "size": 5, "keep": 1, "no_repeat": True, "once_only": True}
    assert described["licence"] == "CC BY 4.0"
    assert described["imported"] == {"from": "the paper's Caffe release", "file": "lstm.caffemodel.h5"}
    assert main(["load", str(files / "package")]) == 0


def test_blobs_of_old_caffe(files):
    """Vectors and matrices once had four dimensions."""
    old = {layer: [b.reshape((1,) * (4 - b.ndim) + b.shape) for b in blobs] for layer, blobs in caffe().items()}
    main(words(files))
    write_caffe(files, old)
    main(words(files, "old"))
    mine, theirs = (package.read(files / name).model.state_dict() for name in ("package", "old"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def refused(capsys, given) -> str:
    assert main(given) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_all_that_is_wrong_is_one_line(files, capsys):
    blobs = caffe()
    blobs["lstm2"][0] = blobs["lstm2"][0][:, :-1]
    blobs["fc_bias"] = [np.zeros(3, np.float32)]
    del blobs["predict"]
    write_caffe(files, blobs)
    line = refused(capsys, words(files))
    assert "lstm.caffemodel.h5: not a Caffe Up-Down captioner checkpoint: " in line
    for part in ("missing: predict.0, predict.1", "unknown: fc_bias.0", "lstm2.0 is [16, 13], expected [16, 14]"):
        assert part in line
    assert not (files / "package").exists()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["<unk>", ".", *CAFFE_WORDS[2:]], "begins with '<unk>', '.', expected '.' (start and end) and '<unk>'"),
        (CAFFE_WORDS[:-1], "train_vocab.txt: 6 lines, expected 7, as "),
        ([*CAFFE_WORDS[:-1], "a"], "train_vocab.txt: vocabulary: words stand twice: a"),
        ([], "begins with ''"),
    ],
)
def test_another_vocabulary(files, capsys, lines, said):
    (files / "train_vocab.txt").write_text("\n".join(lines))
    assert said in refused(capsys, words(files))
    assert not (files / "package").exists()


def test_other_files(files, capsys):
    assert "nowhere: no such file" in refused(capsys, words(files, file="nowhere"))
    assert "nowhere: cannot be read" in refused(capsys, words(files, vocab="nowhere"))
    torch.save({}, files / "model.pth")
    assert "model.pth: is no HDF5 file" in refused(capsys, words(files, file="model.pth"))
    with h5py.File(files / "features.h5", "w") as file:
        file["features"] = np.zeros(3)
    assert "has no blobs under data/LAYER/NUMBER, found features" in refused(capsys, words(files, file="features.h5"))
    with h5py.File(files / "hollow.h5", "w") as file:
        file.create_dataset("data/fc/0", (10**7, 10**5), "f4", chunks=(1000, 100))  # 4 TB that nobody wrote
    assert "data/fc/0 promises more numbers than the file can hold" in refused(capsys, words(files, file="hollow.h5"))
    whole = (files / "lstm.caffemodel.h5").read_bytes()
    (files / "cut.h5").write_bytes(whole[: len(whole) // 2])
    assert "cut.h5: " in refused(capsys, words(files, file="cut.h5"))


def test_numbers_that_are_not_finite(files, capsys):
    blobs = caffe()
    blobs["predict"][1][2] = np.inf
    write_caffe(files, blobs)
    assert "word_layer.bias holds NaN or infinite numbers" in refused(capsys, words(files))
