"""Config of the visual dialog task."""

from __future__ import annotations

from dataclasses import dataclass

from limner.schema.keys import key


@dataclass
class VisDialTask:
    _target_: str = "limner.tasks.visdial.VisDialTask"
    stage: str = key(
        "base",
        "base: answers given and wrong ones, masked words and regions; dense: relevance of the options of judged "
        "rounds; dense_nsp: that, and the answer given",
        choices=("base", "dense", "dense_nsp"),
    )
    main: str = key("mrr", "the metric that is called score and picks the best epoch", choices=("mrr", "ndcg"))
    words_weight: float = key(1.0, "base: factor on the loss of masked words (published: 1)", low=0)
    regions_weight: float = key(1.0, "base: factor on the loss of masked regions (published: 1)", low=0)
    alignment_weight: float = key(1.0, "base and dense_nsp: factor on the loss of right and wrong answers", low=0)
    image_lr: float | None = key(
        None, "learning rate of what is not the text stream (published: that of the text); null: optim.lr", low=0
    )
    warmup_steps: int | None = key(
        None, "published schedule: batches of linear warm-up (10000); null: the group `schedule` instead", low=0
    )
    total_steps: int = key(200000, "published schedule: the batch at which the rate would be 0", low=1)
    lowest_lr: float = key(1e-5, "published schedule: the rate is never lower", low=0)
    rows: int = key(2048, "tokens and regions that are computed at once when options are ranked or compared", low=1)
