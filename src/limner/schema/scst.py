"""Config of self-critical training: sampler, baseline, loss, reward and end-token rule are chosen one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limner.schema.keys import key

SAMPLERS = ("multinomial", "beam")
BASELINES = ("greedy", "mean", "leave_one_out", "none")
LOSSES = (
    "policy_gradient", "policy_gradient_by_caption",
    "best_of_n", "seqnll", "max_margin", "multi_margin", "softmax_margin", "real_softmax_margin",
)  # fmt: skip


@dataclass
class SCST:
    _target_: str = "limner.scst.SCST"
    start_epoch: int = key(
        0, "epochs of cross-entropy before SCST begins; 0: SCST from the start, from `weights`", low=0
    )
    sampler: str = key("multinomial", "captions come from the model's distribution, or a beam search",
                       choices=SAMPLERS)  # fmt: skip
    samples: int = key(5, "sampled captions an image (beam: the width of the beam)", low=1)
    temperature: float = key(1.0, "divides the logits that captions are sampled from (multinomial)", low=1e-3)
    max_length: int = key(20, "longest sampled caption, in predicted tokens", low=1)
    no_repeat: bool = key(False, "sampler=beam: no word twice in a row, the greedy baseline included (paper)")
    once_only: bool = key(False, "sampler=beam: content words once, the greedy baseline included (the paper's release)")
    baseline: str = key("leave_one_out", "what a sample's reward is compared with (policy_gradient* only)",
                        choices=BASELINES)  # fmt: skip
    loss: str = key("policy_gradient", "what is minimised; all but policy_gradient* compare an image's samples",
                    choices=LOSSES)  # fmt: skip
    cider_d: float = key(1.0, "weight of CIDEr-D in the reward (0 to 10 a caption)")
    bleu_4: float = key(0.0, "weight of sentence BLEU-4 in the reward (0 to 1)")
    rouge_l: float = key(0.0, "weight of ROUGE-L in the reward (0 to 1)")
    reward: Any = key(None, "your own reward: {_target_: package.function, _partial_: true}, or a class with __call__")
    reward_weight: float = key(1.0, "weight of your own reward")
    count_end: bool = key(True, "the end of a caption is a word of the reward's n-grams; false: captions end badly")
    frequencies: str | None = key(None, "file of document frequencies that another run made; null: count them")
    xe_weight: float = key(0.0, "share w of cross-entropy: the loss is w XE + (1 - w) SCST", low=0, high=1)
    cache: str | None = key("outputs/.cache", "folder in which document frequencies are kept; null: counted each time")
