"""The phase as a whole: what it logs, what it warns of, what it refuses, its signature, and its config files."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from small_scst import WORDS, batch, model, phase

from limner import preflight
from limner.build import parts
from limner.errors import UserError
from limner.schema.check import typed
from limner.schema.scst import BASELINES, LOSSES, SAMPLERS
from limner.schema.scst import SCST as Settings
from limner.scst import SCST, baselines, losses
from limner.scst import phase as phase_module
from limner.scst.watch import STEPS, Watch


def test_what_is_logged():
    captioner, made = model(), batch()
    with torch.no_grad():
        captioner.word_layer.bias[captioner.eos] += 1.0
        captioner.word_layer.bias[WORDS.index("with")] += 1.0
    critic = phase(baseline="greedy", samples=4, max_length=4)
    torch.manual_seed(0)
    found = critic.losses(captioner, made)
    assert next(iter(found)) == "loss"
    torch.manual_seed(0)
    drawn = phase_module.samplers.multinomial(captioner, made, critic.draw, critic.vocabulary)
    rewards = critic.reward_of(drawn.tokens, drawn.lengths, made["id"].numpy())
    greedy = phase_module.samplers.decoded_by(critic.greedy, captioner, made, critic.vocabulary)
    base = critic.reward_of(greedy.tokens, greedy.lengths, made["id"].numpy())
    captions = [
        tokens[:length] for tokens, length in zip(drawn.tokens.flatten(0, 1).tolist(), drawn.lengths.flatten().tolist())
    ]
    words = [[word for word in caption if word != captioner.eos] for caption in captions]
    bad = [WORDS.index("a"), WORDS.index("with")]
    expected = {
        "sample_reward": rewards.mean(),
        "greedy_reward": base.mean(),
        "baseline": base.mean(),
        "advantage": rewards.mean() - base.mean(),
        "advantage_square": ((rewards - base) ** 2).mean(),
        "length": np.mean([len(caption) for caption in words]),
        "ended": 100 * np.mean([caption[-1] == captioner.eos for caption in captions]),
        "bad_endings": 100 * np.mean([bool(caption) and caption[-1] in bad for caption in words]),
    }
    assert {name: float(loss.mean) for name, loss in found.items() if name != "loss"} == pytest.approx(expected)
    assert 0 < expected["ended"] < 100
    assert 0 < expected["bad_endings"] < 100
    assert {name: loss.count for name, loss in found.items()} == {
        "loss": int(drawn.lengths.sum()), "sample_reward": 12, "greedy_reward": 3, "baseline": 12, "advantage": 12,
        "advantage_square": 12, "length": 12, "ended": 12, "bad_endings": 12,
    }  # fmt: skip


def test_a_greedy_pass_only_where_it_is_needed(monkeypatch):
    calls = []
    original = phase_module.samplers.decoded_by
    monkeypatch.setattr(phase_module.samplers, "decoded_by", lambda *a: (calls.append(a[0]), original(*a))[1])
    captioner, made = model(), batch()
    for options, passes in (({"baseline": "greedy"}, 1), ({}, 0), ({"loss": "seqnll", "baseline": "greedy"}, 0)):
        calls.clear()
        found = phase(**options).losses(captioner, made)
        assert len(calls) == passes
        assert ("greedy_reward" in found) == bool(passes)


def test_rewards_are_of_the_images_of_the_batch_alone():
    """A process counts references of no image that it does not see."""
    critic = phase()
    critic.losses(model(), batch([12]))
    ((_, metric),) = critic.rewards.metrics
    assert list(metric.references._images) == [1]


@pytest.mark.parametrize(
    ("options", "signature"),
    [
        ({}, "CIDEr-D 1.0; df=train:3 images; end=counted; sampler=multinomial n=3 T=1; baseline=leave-one-out; v1"),
        (
            {
                "sampler": "beam",
                "samples": 5,
                "baseline": "mean",
                "count_end": False,
                "no_repeat": True,
                "once_only": True,
            },
            "CIDEr-D 1.0; df=train:3 images; end=not counted; sampler=beam n=5 no-repeat once-only; baseline=mean; v1",
        ),
        (
            {"cider_d": 0.0, "bleu_4": 0.5, "rouge_l": 1, "loss": "best_of_n", "xe_weight": 0.25, "temperature": 2},
            "BLEU-4 0.5 + ROUGE-L 1.0; df=none; end=counted; sampler=multinomial n=3 T=2; loss=best-of-n; xe=0.25; v1",
        ),
    ],
)
def test_signature(options, signature):
    assert phase(**options).signature == signature


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sampler": "greedy"}, "sampler=greedy .choose one of multinomial, beam"),
        ({"baseline": "best", "loss": "risk"}, "baseline=best .*; loss=risk .*real_softmax_margin"),
        ({"samples": 1}, "samples=1 .baseline=leave_one_out compares"),
        ({"samples": 1, "baseline": "none", "loss": "seqnll"}, "samples=1 .loss=seqnll compares"),
        ({"sampler": "beam", "temperature": 2.0}, "temperature=2.0 .sampler=beam draws nothing"),
        ({"no_repeat": True}, "no_repeat=true .sampler=multinomial draws from"),
        ({"once_only": True}, "once_only=true .sampler=multinomial draws from"),
        ({"cider_d": 0.0}, "every reward has weight 0"),
        ({"reward": {"name": "own"}}, "reward=.*name a function"),
    ],
)
def test_options_that_cannot_be(options, told):
    with pytest.raises(UserError, match=f"^scst: {told}"):
        SCST(**options)


def test_one_sample_is_enough_for_rennie():
    found = phase(samples=1, baseline="greedy").losses(model(), batch())
    assert found["loss"].total.isfinite()


# --- warnings ---


def test_rewards_near_zero_are_told_once():
    watch = Watch(reference_length=10)
    told = [watch.see(0.01, 10.0) for _ in range(3 * STEPS)]
    assert [bool(lines) for lines in told].count(True) == 1
    assert "near zero" in told[STEPS - 1][0]
    assert not any(Watch(reference_length=10).see(0.06, 10.0) for _ in range(STEPS))
    own = Watch(reference_length=10, least_reward=None)
    assert not any(own.see(0.0, 10.0) for _ in range(STEPS))


def test_captions_that_collapse_are_told_once():
    watch = Watch(reference_length=10)
    told = [watch.see(1.0, 9.0 if step < 50 else 4.0) for step in range(150)]
    assert [step for step, lines in enumerate(told) if lines] == [50 + 16]  # 17 of the last 20 steps: 4.75 on average
    assert "4.8 tokens, references 10.0" in told[66][0]


def test_a_phase_watches_its_rewards():
    critic = phase(cider_d=1.0)
    with torch.no_grad():
        found = critic.losses(model(), batch())
    assert critic.watch.reference_length == pytest.approx(np.mean([4, 8, 4, 7, 4, 4, 4]))
    zero = {**found, "sample_reward": phase_module.summed(np.zeros(9))}
    assert [len(critic.warnings(zero)) for _ in range(STEPS)] == [0] * (STEPS - 1) + [1]


# --- config ---


def test_choices_are_the_same_everywhere():
    assert phase_module.SAMPLERS == SAMPLERS
    assert baselines.BASELINES == BASELINES
    assert losses.LOSSES == LOSSES


@pytest.mark.parametrize("name", ["nsc", "rennie", "updown_paper", "updown_release", "best_of_n"])
def test_every_config_file(name):
    """Complete, valid, and built."""
    config = preflight.compose("train", ["experiment=caption_scst", f"scst={name}", "paths.cache=c"], checked=False)
    assert list(typed(Settings, config.scst, "scst.")) == []
    built = parts(config.scst)()
    assert built.cache == "c"
    for field in fields(Settings):
        if not field.name.startswith("_"):
            assert field.name in config.scst, field.name


def test_defaults_of_file_and_class_agree(root):
    written = OmegaConf.to_container(OmegaConf.load(root / "conf/scst/nsc.yaml"))
    written.pop("cache")
    declared = {k: v for k, v in OmegaConf.to_container(OmegaConf.structured(Settings)).items() if k != "cache"}
    assert written == declared


def test_your_own_reward_in_a_config():
    node = OmegaConf.create(
        {
            "_target_": "limner.scst.SCST",
            "cider_d": 0.0,
            "reward": {"_target_": "test_scst_phase.brevity", "_partial_": True},
        }
    )
    built = parts(node)()
    assert built.own(["a b"], [["c"]], image_ids=[3]) == [2]
    assert built.signature.startswith("brevity 1.0; df=none")


def brevity(captions, references, *, image_ids):
    return [len(caption.split()) for caption in captions]
