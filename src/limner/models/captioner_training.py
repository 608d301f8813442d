"""Two ways to help a captioner through its training: initial weights, and scheduled sampling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


@torch.no_grad()
def release_weights(model: nn.Module) -> None:
    """The initial weights of the paper's release: N(0, 0.01), biases 0, forget gates' biases 1.

    An LSTM of torch has two biases that are added; here the first has the ones, the second is 0.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, 0.01)
        elif "bias" in name:
            parameter.zero_()
    for module in model.modules():
        if isinstance(module, nn.LSTMCell):
            module.bias_ih[module.hidden_size : 2 * module.hidden_size] = 1


@torch.no_grad()
def mixed(words: Tensor, hidden: Tensor, logits: Callable[[Tensor], Tensor], probability: float) -> Tensor:
    """Scheduled sampling (Bengio et al. 2015): some words replaced by draws from what the model predicts instead.

    Args:
        words: `(n,)`. hidden: `(n, H)` that predicted them. logits: the word layer.
        probability: of each word to be replaced.
    """
    chosen = (torch.rand(len(words), device=words.device) < probability).nonzero().squeeze(1)
    if not len(chosen):
        return words
    drawn = torch.multinomial(logits(hidden[chosen]).float().softmax(1), 1).squeeze(1)
    return words.index_copy(0, chosen, drawn)
