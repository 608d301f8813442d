"""Self-critical rewards and the losses of sampled captions are those of the code that published them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.data.caption_words import CaptionVocabulary
from limner.metrics.frequencies import DocumentFrequencies
from limner.metrics.sequences import ImageCaptions
from limner.scst.baselines import baseline
from limner.scst.losses import LOSSES, loss_of
from limner.scst.rewards import Rewards
from limner.scst.samples import Samples

WEIGHTS = {
    "cider1": (1.0, 0.0),
    "bleu1": (0.0, 1.0),
    "cider1_bleu1": (1.0, 1.0),
    "cider0.8_bleu0.5": (0.8, 0.5),
}


@cache
def captions(folder: Path):
    with np.load(folder / "golden/captioner/scst_reward_inputs.npz") as file:
        arrays = dict(file)
    return json.loads((folder / "golden/captioner/ciderd.json").read_text()), arrays


def ours(rows: np.ndarray, eos: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the published code (words from 1, 0 ends and pads) as our ids, and how many tokens each has."""
    words = (rows > 0).cumprod(1).sum(1)
    tokens = np.where(rows > 0, rows - 1, eos)
    return tokens, np.minimum(words + 1, rows.shape[1])


@pytest.mark.parametrize("name", WEIGHTS)
def test_self_critical_rewards(shared, name):
    """40 images x 5 samples, among them an empty one, one word, and "a" twenty times (which has no end)."""
    golden, arrays = captions(shared)
    words = golden["vocab"]
    vocabulary = CaptionVocabulary([*words[:-1], "<unk>"])
    assert vocabulary.unk == len(words) - 1  # the published code puts its UNK last
    eos = vocabulary.eos
    corpus = [
        [[*vocabulary.encode(text.split()), eos] for text in texts] for texts in golden["df_corpus_captions"].values()
    ]
    frequencies = DocumentFrequencies.build(ImageCaptions.of(corpus, size=eos + 1))
    assert (frequencies.images, len(frequencies.keys)) == (golden["df_idx"]["ref_len"], golden["df_idx"]["n_ngrams"])

    # a label row of 16 words has no end there, because it is full
    tokens, lengths = ours(arrays["labels"], eos)
    ends = np.cumsum(arrays["n_refs"])
    references = [
        [tokens[k, : lengths[k]].tolist() for k in range(end - count, end)]
        for end, count in zip(ends, arrays["n_refs"])
    ]
    cider_d, bleu_4 = WEIGHTS[name]
    rewards = Rewards(
        ImageCaptions.of(references, size=eos + 1), vocabulary, cider_d=cider_d, bleu_4=bleu_4, frequencies=frequencies
    )
    images = len(references)
    every = np.arange(images).repeat(5)
    scores = rewards(*ours(arrays["gen"], eos), every)
    greedy = rewards(*ours(arrays["greedy"], eos), np.arange(images))
    expected = golden["scst"][name]
    assert np.abs(scores - expected["scores"]).max() < 1e-9
    sampled = scores.reshape(images, 5)
    advantage = sampled - baseline("greedy", sampled, greedy)
    assert np.abs(advantage.ravel() - expected["self_critical_reward_per_sequence"]).max() < 1e-9


@cache
def model(folder: Path):
    with np.load(folder / "golden/captioner/updown_small.npz") as file:
        arrays = {name: file[name] for name in file.files if "/sc_" in name}
    return json.loads((folder / "golden/captioner/updown_small.json").read_text()), arrays


def sampled(arrays: dict[str, np.ndarray], of: str) -> tuple[Samples, torch.nn.Linear]:
    """The golden samples: their log-probabilities are the hidden states of a word layer that changes nothing."""
    tokens = torch.from_numpy(arrays[f"{of}/sc_seq"])
    lengths = torch.minimum((tokens > 0).cumprod(1).sum(1) + 1, torch.tensor(tokens.shape[1]))
    row, step = torch.nonzero(torch.arange(tokens.shape[1]) < lengths[:, None], as_tuple=True)
    order = torch.randperm(len(row), generator=torch.Generator().manual_seed(0))  # tokens may stand in any order
    row, step = row[order], step[order]
    logs = torch.from_numpy(arrays[f"{of}/sc_logprobs"])[row, step]
    layer = torch.nn.Linear(31, 31).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(31))
        layer.bias.zero_()
    return Samples(tokens.view(4, 5, -1), lengths.view(4, 5), logs, tokens[row, step], row), layer


@pytest.mark.parametrize("of", ["masked", "nomask"])
def test_the_policy_gradient(shared, of):
    golden, arrays = model(shared)
    samples, layer = sampled(arrays, of)
    advantages = torch.from_numpy(arrays[f"{of}/sc_reward"]).view(4, 5)
    loss = loss_of("policy_gradient", samples, layer, torch.zeros(4, 5), advantages)
    expected = golden[of]["reward_criterion"]
    assert loss.mean.item() == pytest.approx(expected["loss"], abs=1e-12)
    (gradient,) = torch.autograd.grad(loss.mean, layer.bias)
    assert gradient.norm().item() == pytest.approx(expected["grad_norms"]["logit.bias"], abs=1e-12)
    averaged = loss_of("policy_gradient_by_caption", samples, layer, torch.zeros(4, 5), advantages)
    assert averaged.mean.item() == pytest.approx(np.mean(expected["loss_none"]), abs=1e-12)


@pytest.mark.parametrize("of", ["masked", "nomask"])
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "policy_gradient_by_caption"])
def test_structure_losses(shared, of, name):
    """Values and gradients of all published losses but `risk`; leave-one-out is a policy gradient."""
    golden, arrays = model(shared)
    samples, layer = sampled(arrays, of)
    scores = arrays[f"{of}/sc_scores"].reshape(4, 5)
    advantages = torch.from_numpy(scores - baseline("leave_one_out", scores))
    loss = loss_of(name, samples, layer, torch.from_numpy(scores), advantages)
    expected = golden[of]["structure_losses"]["new_self_critical" if name == "policy_gradient" else name]
    assert loss.mean.item() == pytest.approx(expected["loss"], abs=1e-12)
    (gradient,) = torch.autograd.grad(loss.mean, layer.bias)
    assert gradient.norm().item() == pytest.approx(expected["logit_bias_grad_norm"], abs=1e-12)
