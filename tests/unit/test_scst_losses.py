"""Losses and baselines of SCST against straightforward code: loops, whole (N, T, V) log-probabilities, enumeration."""

from __future__ import annotations

import itertools
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_scst import WORDS, batch, model, phase

from limner.caption_losses import cross_entropy
from limner.scst import samples as samplers
from limner.scst.baselines import baseline
from limner.scst.losses import LOSSES, loss_of
from limner.scst.samples import Samples

REWARDS = np.array([[0.3, 1.2, 0.0], [0.7, 0.7, 0.1]])


def test_baselines():
    greedy = np.array([0.5, 0.2])
    assert baseline("greedy", REWARDS, greedy).tolist() == [[0.5] * 3, [0.2] * 3]
    assert baseline("mean", REWARDS) == pytest.approx(np.array([[0.5] * 3, [0.5] * 3]))
    others = [[(1.2 + 0.0) / 2, (0.3 + 0.0) / 2, (0.3 + 1.2) / 2], [0.4, 0.4, 0.7]]
    assert baseline("leave_one_out", REWARDS) == pytest.approx(np.array(others))
    assert baseline("none", REWARDS).tolist() == [[0.0] * 3] * 2
    mean, alone = (REWARDS - baseline(kind, REWARDS) for kind in ("mean", "leave_one_out"))
    assert alone == pytest.approx(mean * 3 / 2)  # the identity that the spec names: n / (n - 1)


def arbitrary(captions: list[str], references: list[list[str]], *, image_ids: list[int]) -> list[float]:
    """A reward that differs from caption to caption and from image to image."""
    return [(sum(map(ord, caption)) * image) % 17 / 10 for caption, image in zip(captions, image_ids)]


def whole_log_probs(captioner, made, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    """(I, n, T, V+1) log-probabilities of captions in the distribution drawn from, which has no <unk> (word 0), one
    caption and one word at a time."""
    images, n, longest = tokens.shape
    rows = []
    for image, sample in itertools.product(range(images), range(n)):
        state = captioner.begin(made["feats"][image : image + 1], made["mask"][image : image + 1])
        word, steps = torch.tensor([captioner.bos]), []
        for t in range(longest):
            logits, state, _ = captioner.step(word, state)
            allowed = torch.cat([torch.tensor([-torch.inf]), logits[0, 1:] / temperature])
            steps.append(F.log_softmax(allowed, 0))
            word = tokens[image, sample, t : t + 1].clamp(max=captioner.eos)  # what follows the end does not count
        rows.append(torch.stack(steps))
    return torch.stack(rows).view(images, n, longest, -1)


def straightforward(kind: str, logs: torch.Tensor, tokens: torch.Tensor, rewards, advantages, eos: int) -> torch.Tensor:
    """The mean loss by loops over images, samples and steps."""
    images, n, longest = tokens.shape
    sums, means, tokens_in_all = torch.zeros(images, n).double(), torch.zeros(images, n).double(), 0
    for i, k in itertools.product(range(images), range(n)):
        count = 0
        for t in range(longest):
            sums[i, k] = sums[i, k] + logs[i, k, t, tokens[i, k, t]]
            count += 1
            if tokens[i, k, t] == eos:
                break
        means[i, k] = sums[i, k] / count
        tokens_in_all += count
    total = torch.zeros(()).double()
    for i in range(images):
        best = max(range(n), key=lambda k: rewards[i][k])
        costs = [-float(r) for r in rewards[i]]
        if kind == "softmax_margin":
            low, high = min(costs), max(costs)
            costs = [(c - low) / (high - low) for c in costs]
        lead = [max(0, costs[k] - costs[best] + means[i, k] - means[i, best]) for k in range(n)]
        if kind == "policy_gradient":
            total = total - sum(sums[i, k] * advantages[i][k] for k in range(n)) / tokens_in_all
        elif kind == "policy_gradient_by_caption":
            total = total - sum(means[i, k] * advantages[i][k] for k in range(n)) / (images * n)
        elif kind == "best_of_n":
            total = total - sums[i, best] / tokens_in_all
        elif kind == "max_margin":
            total = total + max(lead) / 2 / images
        elif kind == "multi_margin":
            total = total + sum(lead) / n / images
        else:
            scores = [means[i, k] + (0 if kind == "seqnll" else costs[k]) for k in range(n)]
            total = total + (torch.logsumexp(torch.stack(scores), 0) - scores[best]) / images
    return total


@pytest.mark.parametrize(("sampler", "temperature"), [("multinomial", 1.0), ("multinomial", 0.6), ("beam", 1.0)])
@pytest.mark.parametrize(
    ("kind", "against"),
    [
        *(("policy_gradient", against) for against in ("greedy", "mean", "leave_one_out", "none")),
        ("policy_gradient_by_caption", "greedy"),
        *((kind, "none") for kind in LOSSES if not kind.startswith("policy")),
    ],
)
def test_every_sampler_baseline_and_loss(sampler, temperature, kind, against, monkeypatch):
    """The loss of a step and all of its gradients, computed again with nothing clever."""
    captioner, made = model(), batch()
    critic = phase(sampler=sampler, baseline=against, loss=kind, reward=arbitrary, temperature=temperature)
    seen: dict[str, Samples] = {}
    original = getattr(samplers, sampler)
    monkeypatch.setattr(samplers, sampler, lambda *args: seen.setdefault("drawn", original(*args)))
    torch.manual_seed(3)
    found = critic.losses(captioner, made)
    found["loss"].mean.backward()
    ours = [p.grad.clone() for p in captioner.parameters()]

    tokens, lengths = seen["drawn"].tokens, seen["drawn"].lengths
    rewards = np.zeros(lengths.shape)
    for i, k in itertools.product(range(3), range(3)):
        one = tokens[i, k, : lengths[i, k]].numpy()
        rewards[i, k] = critic.rewards(one[None], np.array([len(one)]), made["id"][i : i + 1].numpy())[0]
    assert len(np.unique(rewards)) > 4
    base = np.zeros_like(rewards)
    for i, k in itertools.product(range(3), range(3)):
        if against == "greedy" and kind.startswith("policy"):
            state, word, said = captioner.begin(made["feats"], made["mask"]), torch.full((3,), captioner.bos), []
            for _ in range(6):
                logits, state, _ = captioner.step(word, state)
                word = logits[:, 1:].argmax(1) + 1  # never <unk>, which is word 0
                said.append(int(word[i]))
            said = said[: said.index(captioner.eos) + 1] if captioner.eos in said else said
            base[i, k] = critic.rewards(np.array([said]), np.array([len(said)]), made["id"][i : i + 1].numpy())[0]
        elif against == "mean":
            base[i, k] = sum(rewards[i]) / 3
        elif against == "leave_one_out":
            base[i, k] = sum(rewards[i, j] for j in range(3) if j != k) / 2
    captioner.zero_grad()
    logs = whole_log_probs(captioner, made, tokens, temperature)
    expected = straightforward(kind, logs, tokens, rewards, rewards - base, captioner.eos)
    assert found["loss"].mean.item() == pytest.approx(expected.item(), abs=1e-12)
    theirs = torch.autograd.grad(expected, list(captioner.parameters()), allow_unused=True)
    names = [name for name, _ in captioner.named_parameters()]
    for name, mine, other in zip(names, ours, theirs):
        other = torch.zeros_like(mine) if other is None else other
        assert (mine - other).abs().max() < 1e-11, name
    assert max(mine.abs().max() for mine in ours) > 1e-3


def test_the_policy_gradient_is_the_gradient_of_the_expected_reward():
    """All captions of up to two tokens, each weighted by its probability, against finite differences."""
    captioner, made = model(), batch([11])
    eos = len(WORDS)
    captions = [[eos], *([w, last] for w in range(eos) for last in range(eos + 1))]
    lengths = torch.tensor([[len(caption) for caption in captions]])
    tokens = torch.tensor([[[captioner.bos, *c, captioner.pad][:3] for c in captions]])[0]
    rewards = torch.randn(1, len(captions), generator=torch.Generator().manual_seed(5)).double()
    image = torch.zeros(len(captions), dtype=torch.long)

    def packed():
        states = captioner.states(made["feats"], made["mask"], image, tokens, lengths[0])
        return Samples(tokens[None, :, 1:], lengths, states.hidden, states.targets(tokens), states.caption)

    def probabilities():
        drawn = packed()
        logs = captioner.logits(drawn.hidden).log_softmax(1).gather(1, drawn.targets[:, None])[:, 0]
        return logs.new_zeros(len(captions)).index_add(0, drawn.sample, logs).exp()

    with torch.no_grad():
        share = probabilities()
    assert share.sum().item() == pytest.approx(1)  # they are all the captions there are
    loss = loss_of("policy_gradient", packed(), captioner.word_layer, rewards, share[None] * rewards)
    loss.total.backward()
    step = 1e-6
    for parameter in captioner.parameters():
        place = int(parameter.grad.abs().argmax())
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[place] += sign * step
                values.append(float((probabilities() * rewards[0]).sum()))
                parameter.view(-1)[place] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert -parameter.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_unknown_words_gain_nothing():
    """What samples with a negative advantage lose goes to other words, and not to the one that is never drawn."""
    captioner, made = model(), batch()
    with torch.no_grad():
        captioner.word_layer.bias[0] += 2.0  # half of all words are unknown
    critic = phase(baseline="none", cider_d=0.0, reward=lambda captions, *_, **__: [-1.0] * 9)
    critic.losses(captioner, made)["loss"].mean.backward()
    assert (captioner.word_layer.bias.grad[0], captioner.word_layer.weight.grad[0].abs().max()) == (0, 0)
    assert captioner.word_layer.bias.grad[1:].abs().max() > 0.01


def test_images_whose_samples_are_all_alike():
    """Equal rewards give softmax_margin no scale; nothing is divided by 0."""
    captioner, made = model(), batch()
    critic = phase(sampler="beam", loss="softmax_margin", cider_d=0.0, reward=lambda captions, *_, **__: [1.0] * 9)
    loss = critic.losses(captioner, made)["loss"]
    loss.mean.backward()
    assert loss.mean.isfinite()
    assert all(p.grad.isfinite().all() for p in captioner.parameters())


def round_things(captions: list[str], references: list[list[str]], *, image_ids: list[int]) -> list[float]:
    return [float("circle" in caption) for caption in captions]


@pytest.fixture(scope="module")
def learned():
    """A captioner after a little cross-entropy."""
    captioner, made = model(double=False), batch(double=False)
    optimizer = torch.optim.Adam(captioner.parameters(), 3e-2)
    for _ in range(10):
        given = made["feats"], made["mask"], made["image"], made["tokens"], made["lengths"]
        optimizer.zero_grad()
        cross_entropy(captioner.states(*given), captioner.word_layer, made["tokens"]).mean.backward()
        optimizer.step()
    return captioner


@pytest.mark.parametrize(
    ("kind", "sampler", "steps"),
    [*((kind, "multinomial", 15) for kind in LOSSES), ("cider_d", "multinomial", 25), ("cider_d", "beam", 15)],
)
def test_training_raises_the_reward(kind, sampler, steps, learned):
    """Every loss that is offered learns; `risk` is not offered because it does not."""
    captioner, made = deepcopy(learned), batch(double=False)
    chosen = {} if kind == "cider_d" else {"loss": kind, "cider_d": 0.0, "reward": round_things}
    critic = phase(sampler=sampler, samples=25 if kind == "cider_d" else 8, **chosen)
    many = phase(samples=200, **chosen)

    def reward() -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            return many.losses(captioner, made)["sample_reward"].mean.item()

    before = reward()
    optimizer = torch.optim.Adam(captioner.parameters(), 3e-2)
    torch.manual_seed(2)
    for _ in range(steps):
        optimizer.zero_grad()
        critic.losses(captioner, made)["loss"].mean.backward()
        optimizer.step()
    assert reward() > before + 0.2
