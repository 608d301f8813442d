"""GloVe and image vectors reach the rows of the model they belong to."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_vqa import data, make_files

from limner.errors import UserError
from limner.models.updown_vqa import UpDownVQA


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("vqa"))


@pytest.fixture
def glove(tmp_path):
    """Vectors of size 3: `red` is a question word and an answer, `green` an answer only, `blue` has none."""
    vectors = {"red": [1, 2, 3], "is": [4, 5, 6], "green": [7, 8, 9], "yes": [1, 0, 0], "unused": [9, 9, 9]}
    path = tmp_path / "glove.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, v))}\n" for word, v in vectors.items()))
    return path, {word: torch.tensor(v, dtype=torch.float32) for word, v in vectors.items()}


def effective(layer) -> torch.Tensor:
    """A layer's weight matrix, also where it is normalised."""
    return layer.weight_v * (layer.weight_g / layer.weight_v.norm()) if hasattr(layer, "weight_v") else layer.weight


@pytest.mark.parametrize("classifier", ["single", "two_stream"])
@pytest.mark.parametrize("weight_norm", [True, False])
def test_glove_reaches_the_model(folder, glove, capsys, classifier, weight_norm):
    path, vectors = glove
    made = data(folder, glove=str(path))
    sizes = {"embed_dim": 3, "hidden": 4, "classifier_hidden": 4, "image_answer_dim": 5}
    model = UpDownVQA(**made.sizes(), **sizes, classifier=classifier, weight_norm=weight_norm)
    made.initialise(model)
    rows = model.question.words.weight
    for word, place in made.words.ids.items():
        assert torch.equal(rows[place], vectors.get(word, torch.zeros(3))), word
    assert not rows[-1].any()
    assert "GloVe: 2 of 11" in capsys.readouterr().out or classifier == "two_stream"
    if classifier == "two_stream":
        text = effective(model.classifier.text.output)
        for label, answer in enumerate(made.answers.answers):
            torch.testing.assert_close(text[label], vectors.get(answer, torch.zeros(3)))


def test_answers_of_several_words_start_at_the_mean(folder, glove, tmp_path):
    path, vectors = glove
    (tmp_path / "answers.json").write_text(json.dumps(["red green", "green blue", "", "yes"]))
    made = data(folder, glove=str(path), answers_file=str(tmp_path / "answers.json"))
    model = UpDownVQA(**made.sizes(), embed_dim=3, hidden=4, image_answer_dim=5, classifier="two_stream")
    made.initialise(model)
    text = effective(model.classifier.text.output)
    want = torch.stack([(vectors["red"] + vectors["green"]) / 2, vectors["green"] / 2, torch.zeros(3), vectors["yes"]])
    torch.testing.assert_close(text, want)


def test_answer_images_reach_the_model(folder, tmp_path):
    made = data(folder, answer_images=str(tmp_path / "images.npy"))
    matrix = np.random.default_rng(0).standard_normal((6, 5))
    sizes = {**made.sizes(), "embed_dim": 3, "hidden": 4, "classifier_hidden": 4, "image_answer_dim": 5}
    model = UpDownVQA(**sizes, classifier="two_stream")
    np.save(tmp_path / "images.npy", matrix)
    made.initialise(model)
    torch.testing.assert_close(effective(model.classifier.image.output), torch.from_numpy(matrix).float())
    with pytest.raises(UserError, match="answer vectors need classifier=two_stream"):
        made.initialise(UpDownVQA(**sizes))
    np.save(tmp_path / "images.npy", matrix[:4])
    with pytest.raises(UserError, match=r"images\.npy holds shape \(4, 5\), expected a \.npy matrix of 6 rows"):
        made.initialise(model)
    (tmp_path / "images.npy").write_bytes(b"no matrix")
    with pytest.raises(UserError, match=r"images\.npy: is no \.npy array"):
        made.initialise(model)
