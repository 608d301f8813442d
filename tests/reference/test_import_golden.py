"""Published checkpoint files through `limner import`: the package's logits are those of the published code."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from limner.data.pickles import read_list
from limner.weights import package
from limner.weights.command import main


@pytest.mark.parametrize("name", ["baseline0", "baseline0_newatt"])
@pytest.mark.parametrize("suffix", ["model", "model_torch03"])
def test_package_of_a_published_checkpoint(shared, tmp_path, name, suffix):
    folder = shared / "golden/vqa"
    data = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(folder / f"{name}.npz").items()}
    words, answers = data["sd/w_emb.emb.weight"].shape[0] - 1, data["out/logits"].shape[1]
    (tmp_path / "words.json").write_text(json.dumps([f"word{k}" for k in range(words)]))
    (tmp_path / "answers.json").write_text(json.dumps([f"answer{k}" for k in range(answers)]))
    lists = ["--words", str(tmp_path / "words.json"), "--answers", str(tmp_path / "answers.json")]
    assert main(["hu-vqa", str(folder / f"{name}.{suffix}.pth"), *lists, "--to", str(tmp_path / "package")]) == 0
    model = package.read(tmp_path / "package").model
    tokens = torch.full_like(data["in/q"], words)  # published rows are padded on the left, ours on the right
    for row, source in zip(tokens, data["in/q"]):
        row[: int((source != words).sum())] = source[source != words]
    feats = data["in/v"].float()
    with torch.no_grad():
        made = model(feats, torch.ones(feats.shape[:2], dtype=torch.bool), torch.arange(len(feats)), tokens)
    torch.testing.assert_close(made.logits, data["out/logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(made.attention, data["out/att"].squeeze(-1), atol=1e-5, rtol=0)


def test_lists_that_python_2_pickled(shared):
    folder = shared / "golden/vqa/py2_pickles"
    words = read_list(folder / "dictionary.pkl")
    answers = read_list(folder / "trainval_label2ans.pkl")
    assert len(set(words)) == len(words) > 1
    assert len(set(answers)) == len(answers) > 1
    assert read_list(folder / "trainval_ans2label.pkl") == answers
