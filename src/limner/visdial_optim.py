"""How ViLBERT is finetuned on visual dialog: parameter groups, schedule and optimiser, as published (visdial-bert).

The text stream and the words head, which start from BERT, have a learning rate of their own; weights decay, but not
biases and LayerNorms. The rate rises linearly, falls linearly, and never goes below a floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw
from torch.optim.lr_scheduler import LambdaLR

LANGUAGE = ("text_embedding.", "encoder.text_layers.", "words_head.")
"""prefixes of the names that BERT brings: they have the rate `lr`, all others `image_lr`"""


def decays(name: str, *, joint_norms: bool = True) -> bool:
    """Whether the parameter `name` of `ViLBERT` decays.

    Biases and the weights of LayerNorms do not. But the first LayerNorms of co-attention layers do in the published
    code, whose names for them escape its list; `joint_norms=False` excepts them too.
    """
    if name.endswith("bias"):
        return False
    if ".joint_layers." in name and ".norm1." in name:
        return joint_norms
    return not any(part in name for part in (".norm.", ".norm1.", ".norm2."))


def parameter_groups(
    model: nn.Module, *, lr: float, image_lr: float, weight_decay: float = 0.01, joint_norms: bool = True
) -> list[dict[str, Any]]:
    """The parameters of a `ViLBERT` in up to four groups, for any optimiser: `params`, `lr`, `weight_decay`, `name`.

    Args:
        model: the model.
        lr: of what BERT brings. image_lr: of the image stream, co-attention, poolers and the other heads.
        weight_decay: of the parameters that `decays` names.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        language, decay = name.startswith(LANGUAGE), decays(name, joint_norms=joint_norms)
        title = f"{'language' if language else 'image'}, {'decay' if decay else 'no decay'}"
        new = {"params": [], "lr": lr if language else image_lr, "weight_decay": weight_decay if decay else 0.0}
        groups.setdefault(title, {**new, "name": title})["params"].append(parameter)
    return list(groups.values())


def warmup_linear(step: float, *, warmup: float = 10_000, total: float = 200_000) -> float:
    """The factor after `step` steps: linearly to 1 over `warmup` steps, then linearly to 0 at `total`."""
    return step / max(warmup, 1) if step < warmup else max((total - step) / max(total - warmup, 1), 0.0)


def rate(step: float, base: float, *, warmup: float = 10_000, total: float = 200_000, floor: float = 1e-5) -> float:
    """The learning rate after `step` steps: `base` times `warmup_linear`, but at least `floor`.

    With the published numbers and a base of 2e-5 that is 1e-5 up to step 5,000 and again from 105,000 on.
    """
    return max(base * warmup_linear(step, warmup=warmup, total=total), floor)


def scheduler(
    optimizer: Optimizer,
    *,
    warmup: float = 10_000,
    total: float = 200_000,
    floor: float = 1e-5,
    every: int = 1,
    ahead: int | None = None,
) -> LambdaLR:
    """`rate` for each parameter group with its own base rate; stepped once after each optimiser step.

    Args:
        optimizer: its groups hold their base rates; a group whose rate is 0 keeps it.
        warmup, total, floor: as for `rate`, in iterations (batches, not updates).
        every: iterations an update (gradient accumulation).
        ahead: iterations that count at the first update; None: `every`. The published loop makes no update after its
            very first batch, whose gradient joins the next one: there it is `every` + 1.
    """
    start = every if ahead is None else ahead

    def factor(base: float) -> Callable[[int], float]:
        if base == 0:
            return lambda update: 0.0
        return lambda update: rate(start + update * every, base, warmup=warmup, total=total, floor=floor) / base

    bases = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    return LambdaLR(optimizer, [factor(base) for base in bases])


class BertAdamW(Optimizer):
    """AdamW as pytorch_transformers 1.2 had it, which finetuned the published models.

    It differs from torch's in two ways: eps is added before the bias correction, and weights decay after the update
    rather than before. Both are torch's kernel with other numbers: eps / sqrt(1 - beta2^t) for eps, and, since
    (w - u)(1 - lr d) = w (1 - lr d) - u (1 - lr d), a rate of lr (1 - lr d) with a decay of d / (1 - lr d).

    Args:
        params: parameters, or groups of them with `lr` and `weight_decay` of their own.
        lr, betas, eps, weight_decay: as in torch's AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[int, torch.device, torch.dtype], list[Tensor]] = {}
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                alike.setdefault((int(state["step"].item()), p.device, p.dtype), []).append(p)
            for (done, *_), params in alike.items():
                self._update(group, params, done + 1)
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor], step: int) -> None:
        """Parameters that have all been updated `step - 1` times."""
        states = [self.state[p] for p in params]
        beta1, beta2 = group["betas"]
        kept = 1 - group["lr"] * group["weight_decay"]
        steps = [torch.tensor(float(step - 1), device=p.device) for p in params]  # the kernel adds 1
        adamw(
            params,
            [p.grad for p in params if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"] * kept,
            weight_decay=group["weight_decay"] / kept,
            eps=group["eps"] / math.sqrt(1 - beta2**step),
            maximize=False,
        )
        for state in states:
            state["step"] += 1
