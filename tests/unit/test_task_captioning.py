"""The captioning task: token means over processes, phases, rows, scores, what is written down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_scst import SAID, WORDS, batch, model, references, vocabulary

from limner.decode import Beam, Greedy
from limner.errors import UserError
from limner.models.caption_ensemble import CaptionEnsemble
from limner.optim import XEThenSCST
from limner.scst import SCST
from limner.tasks.captioning import CaptioningTask, ScheduledSampling
from limner.word_lists import REPEATABLE


class Captioning(CaptioningTask):
    """With a trainer that is not Lightning's."""

    trainer: Any = None
    current_epoch: Any = 0


def task(captioner=None, *, processes: int = 1, **options: Any) -> Captioning:
    made = Captioning(captioner or model(), **{"vocabulary": vocabulary(), "references": references(), **options})
    made.log = lambda *_, **__: None  # type: ignore[method-assign]
    made.trainer = SimpleNamespace(world_size=processes, global_step=0, is_global_zero=True)
    return made


def critic(**options: Any) -> SCST:
    return SCST(**{"samples": 3, "max_length": 6, **options})


def gradient(captioner) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in captioner.parameters()])


# --- training ---


def test_cross_entropy_is_the_mean_over_tokens():
    made, given = task(), batch()
    total, count = made.loss(given)["loss"]
    assert count == int(given["lengths"].sum())
    logits, caption, step, _ = made.model(*(given[k] for k in ("feats", "mask", "image", "tokens", "lengths")))
    targets = given["tokens"][caption, step + 1]
    assert (total / count).item() == pytest.approx(F.cross_entropy(logits, targets).item(), abs=1e-12)
    assert made.training_step(given, 0).item() == pytest.approx((total / count).item())
    smoothed = task(label_smoothing=0.1).loss(given)["loss"]
    assert smoothed.mean.item() != pytest.approx((total / count).item(), abs=1e-3)


def fixed_rewards(captions, references, *, image_ids):
    return [(sum(map(ord, caption)) * image) % 17 / 10 for caption, image in zip(captions, image_ids)]


@pytest.mark.parametrize("options", [None, {}, {"xe_weight": 0.3}, {"loss": "seqnll"}])
def test_two_processes_learn_what_one_does(options, monkeypatch):
    """Images 11, 12 and 15 on one process, or 11, 12 and 15 on two: token means are over all tokens.

    The beam sampler draws nothing, so that both see the same captions.
    """
    ids = list(SAID)

    def run(images: list[int], processes: int, counts: list[int] | None):
        scst = None if options is None else critic(sampler="beam", baseline="mean", reward=fixed_rewards, **options)
        made = task(processes=processes, scst=scst)
        asked = []

        def global_count(_: Any, count: int) -> int:
            asked.append(count)
            return count if counts is None else counts[len(asked) - 1]

        monkeypatch.setattr(made, "global_count", global_count)
        loss = made.training_step({**batch(images), "total": len(ids)}, 0)
        loss.backward()
        return gradient(made.model), asked, made.step_sums

    whole, expected, sums = run(ids, 1, None)
    shares = [ids[:2], ids[2:]]
    parts = [run(images, 2, None)[1] for images in shares]  # what each would tell the others
    counts = [sum(each) for each in zip(*parts)]
    assert counts == expected
    first, second = (run(images, 2, counts) for images in shares)
    assert torch.allclose((first[0] + second[0]) / 2, whole, atol=1e-13, rtol=0)  # DDP takes the mean
    for name in sums:
        total = first[2][name][0] + second[2][name][0], first[2][name][1] + second[2][name][1]
        if name != "loss" or (options or {}).get("xe_weight") is None:
            assert float(total[0]) == pytest.approx(float(sums[name][0]), abs=1e-9), name
        assert total[1] == sums[name][1]


def test_counts_of_processes_are_added(monkeypatch):
    made = task(processes=2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(3))
    assert made.global_count({"total": 3}, 14) == 42


def test_scst_begins_at_its_epoch(capsys):
    made, given = task(scst=critic(start_epoch=2)), batch()
    for epoch, names in ((0, ["loss"]), (1, ["loss"]), (2, None), (5, None)):
        made.current_epoch = epoch
        found = made.loss(given)
        assert ("sample_reward" in found) == (names is None)
        assert names is None or list(found) == names
    assert capsys.readouterr().err == ""


def test_a_mix_with_cross_entropy():
    given = batch()
    torch.manual_seed(0)
    alone = task(scst=critic()).loss(given)
    xe = task().loss(given)["loss"]
    torch.manual_seed(0)
    mixed = task(scst=critic(xe_weight=0.25)).loss(given)
    assert mixed["loss"].mean.item() == pytest.approx(0.75 * alone["loss"].mean.item() + 0.25 * xe.mean.item())
    assert mixed["xe"].mean.item() == pytest.approx(xe.mean.item())
    assert mixed["scst"].mean.item() == pytest.approx(alone["loss"].mean.item())


def test_the_spread_of_the_advantage_is_that_of_all_samples():
    """A standard deviation over several batches, from their sums."""
    made = task(scst=critic(reward=fixed_rewards, baseline="greedy"))
    advantages = []
    inside = made.scst.reward_of

    def reward_of(tokens, lengths, ids):
        values = inside(tokens, lengths, ids)
        advantages.append(values)
        return values

    made.scst.reward_of = reward_of
    for ids in ([11], [12, 15]):
        made.training_step(batch(ids), 0)
    means = made.step_means()
    sampled, greedy = [advantages[k] for k in (0, 2)], [advantages[k] for k in (1, 3)]
    every = torch.cat([torch.tensor(s - g).flatten() for s, g in zip(sampled, greedy)])
    assert means["advantage_std"] == pytest.approx(every.std(correction=0).item())
    assert {"advantage", "advantage_square"}.isdisjoint(means)
    assert {"loss", "sample_reward", "greedy_reward", "baseline", "length", "ended", "bad_endings"} <= means.keys()


def test_warnings_are_printed_once_by_the_first_process(capsys, monkeypatch):
    made, given = task(scst=critic()), batch()
    monkeypatch.setattr(made.scst, "warnings", lambda found: ["scst: look at this"])
    made.loss(given)
    assert capsys.readouterr().err == "warning: scst: look at this\n"
    made.trainer.is_global_zero = False
    made.loss(given)
    assert capsys.readouterr().err == ""


def test_a_step_is_a_function_of_weights_batch_and_seed():
    """What went before (steps, warnings, evaluations) does not matter: a resumed run goes on as if never stopped."""
    made, given = task(model(drop=0.5), scst=critic(reward=fixed_rewards, baseline="greedy")), batch()

    def step() -> torch.Tensor:
        torch.manual_seed(5)
        made.model.zero_grad()
        made.training_step(given, 0).backward()
        return gradient(made.model)

    first = step()
    for _ in range(25):
        made.loss(given)
    made.rows(given)
    assert torch.equal(step(), first)
    assert made.model.training


def test_scst_needs_training_captions():
    with pytest.raises(UserError, match="scst: the data give no training captions"):
        task(scst=critic(), references=None, optimizer=torch.optim.SGD)
    task(scst=critic(), references=None)  # an evaluation needs none


# --- schedules ---


def test_scheduled_sampling():
    published = ScheduledSampling()
    assert [published.probability(epoch) for epoch in (0, 4, 5, 9, 10, 24, 25, 60)] == pytest.approx(
        [0, 0, 0.05, 0.05, 0.1, 0.2, 0.25, 0.25]
    )
    later = ScheduledSampling(start=10, every=2, step=0.1, max=1.0)
    assert [later.probability(epoch) for epoch in (0, 11, 12, 14)] == pytest.approx([0, 0, 0.1, 0.2])
    made = task(scheduled_sampling={"every": 3})
    seen = []
    inside = made.model.states

    def states(*given, **options):
        seen.append(options["scheduled_sampling"])
        return inside(*given, **options)

    made.model.states = states
    for made.current_epoch in (0, 3):
        made.loss(batch())
    assert seen == [0.0, 0.05]


@pytest.mark.parametrize(("settings", "told"), [({"evry": 3}, "unknown evry; known: start"), ({"max": 2.0}, "max=2.0")])
def test_scheduled_sampling_that_cannot_be(settings, told):
    with pytest.raises(UserError, match=told):
        task(scheduled_sampling=settings)


def test_the_rate_of_both_phases():
    schedule = XEThenSCST(start=30, every=3, factor=0.8, rl_factor=0.1, warmup_epochs=1)
    expected = {0: 1e-3, 0.5: 0.5, 1: 1, 2.99: 1, 3: 0.8, 6.5: 0.64, 29.9: 0.8**9, 30: 0.1, 49.9: 0.1}
    for epoch, factor in expected.items():
        assert schedule(epoch, 50) == pytest.approx(factor), epoch


# --- evaluation ---


def talkative(**options: Any):
    """A model whose captions have words and ends."""
    captioner = model(**options)
    with torch.no_grad():
        captioner.word_layer.weight.mul_(8)
        captioner.word_layer.bias[WORDS.index("red")] += 1.0
        captioner.word_layer.bias[captioner.eos] += 1.0
    return captioner.eval()


@pytest.mark.parametrize(
    "decode", [Greedy(max_length=5), Beam(size=3, keep=1, max_length=5), Beam(size=3, max_length=5)]
)
def test_rows(decode):
    made, given = task(talkative(), decode=decode), batch()
    plain = made.rows(given)
    made.detailed = True
    detailed = made.rows(given)
    assert [set(row) for row in plain] == [{"id", "image_id", "caption", "logp", "ended"}] * 3
    assert [row["id"] for row in plain] == [row["image_id"] for row in plain] == list(SAID)
    regions = given["mask"].sum(1).tolist()
    for short, row, count in zip(plain, detailed, regions):
        assert {name: row[name] for name in short} == short
        assert " ".join(row["tokens"]) == row["caption"]
        assert [len(weights) for weights in row["attention"]] == [count] * len(row["tokens"])
        assert all(sum(weights) == pytest.approx(1, abs=1e-4) for weights in row["attention"])
        assert ("beams" in row) == (decode == Beam(size=3, max_length=5))
    if "beams" in detailed[0]:
        for row in detailed:
            assert row["beams"][0] == [row["caption"], row["logp"]]
            assert [score for _, score in row["beams"]] == sorted((score for _, score in row["beams"]), reverse=True)


def test_rows_say_whether_a_caption_ended():
    captioner = talkative()
    made = task(captioner, decode=Greedy(max_length=3))
    with torch.no_grad():
        captioner.word_layer.bias[captioner.eos] = -100.0
    assert [row["ended"] for row in made.rows(batch())] == [False] * 3
    with torch.no_grad():
        captioner.word_layer.bias[captioner.eos] = 100.0
    rows = made.rows(batch())
    assert [(row["ended"], row["caption"]) for row in rows] == [(True, "")] * 3


def test_several_models_write_together():
    alone, together = task(talkative()), task(CaptionEnsemble([talkative(), talkative()]))
    made, other = ([row["caption"] for row in each.rows(batch())] for each in (alone, together))
    assert made == other


CAPTIONS = {11: "a red circle", 12: "a blue square with a", 15: ""}


def rows(said: dict[int, str] = CAPTIONS) -> list[dict[str, Any]]:
    return [
        {"id": image, "image_id": image, "caption": caption, "logp": -1.0, "ended": image != 12}
        for image, caption in said.items()
    ]


def test_scores_after_an_epoch():
    made = task()
    made.references = SAID
    scores = made.score(rows())
    assert list(scores) == ["score", "cider_d", "bleu_1", "bleu_4", "length", "ended", "bad_endings"]
    assert scores["score"] == scores["cider_d"] > 50
    assert scores["length"] == pytest.approx(8 / 3)
    assert scores["ended"] == pytest.approx(200 / 3)
    assert scores["bad_endings"] == pytest.approx(100 / 3)
    best = {image: texts[0] for image, texts in SAID.items()}
    assert made.score(rows(best))["bleu_1"] == pytest.approx(100, abs=1e-3)
    # other references count, also for the same images
    made.references = {image: ["blue"] for image in SAID}
    assert made.score(rows())["bleu_1"] < scores["bleu_1"]


def test_a_detailed_evaluation():
    made = task(java=False, decode=Beam(size=3, no_repeat=True, repeatable=list(REPEATABLE)))
    made.detailed, made.references = True, {11: SAID[11], 12: SAID[12]}
    given = rows()
    made.scores = made.score(given)
    assert {"rouge_l", "cider", "bleu_2"} <= made.scores.keys()
    mean = (given[0]["cider_d"] + given[1]["cider_d"]) / 2
    assert made.scores["score"] == pytest.approx(mean, abs=1e-3)
    assert "cider_d" not in given[2]
    told = made.details()
    low, high = told["intervals"]["score"]
    assert low <= made.scores["score"] <= high
    assert told["notes"] == ["1 of 3 images have no references and are not scored"]
    assert told["signature"] == "cross-entropy"
    assert told["decode"] == "Beam(no_repeat=True, size=3)"
    assert told["metrics"] == made.scores
    assert "images:2" in told["measured"]


def test_nothing_to_score_with():
    made = task()
    assert made.score(rows()) == {}
    made.references = {99: ["a cat"]}
    assert made.score(rows()) == {}
    assert "intervals" not in made.details()


def test_what_a_package_says():
    made = task(scst=critic())
    expected = "CIDEr-D 1.0; df=train:3 images; end=counted; sampler=multinomial n=3 T=1; baseline=leave-one-out; v1"
    assert made.describe() == {"task": "captioning", "signature": expected, "decode": "Greedy()"}
    xe = task(label_smoothing=0.1, scheduled_sampling={})
    assert xe.signature == "cross-entropy; label smoothing 0.1; scheduled sampling"
    later = task(references=None)
    later.trained_as([made.describe(), xe.describe(), made.describe(), {}])
    assert later.details()["signature"] == f"{expected} | {xe.signature} | unknown"
