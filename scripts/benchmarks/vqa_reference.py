"""The straightforward Up-Down VQA: what the published code computes, as plainly as it can be written.

The yardstick of `vqa.py`. Every question brings its own copy of its image's regions; the GRU runs over all 14
positions, pads included; question vectors are repeated for every region, multiplied and summed. The results are those
of `UpDownVQA` with the same weights, so only the way is compared. (Dropout is not in place: in place after a ReLU,
as in the published code, today's PyTorch refuses the backward pass.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from limner.models.updown_vqa import UpDownVQA


def _layer(inputs: int, outputs: int) -> nn.Linear:
    return weight_norm(nn.Linear(inputs, outputs), dim=None)


class PlainUpDownVQA(nn.Module):
    """The product-attention model at the sizes of `model`, with its weights: `(feats (B,K,D), tokens (B,14) padded on
    the left) -> (logits (B,A), attention (B,K))`."""

    def __init__(self, model: UpDownVQA) -> None:
        super().__init__()
        attention, classifier = model.attention, model.classifier
        pairs = {
            "region": attention.region.linear,
            "key": attention.question.linear,
            "score": attention.score,
            "question_net": model.question_net.linear,
            "region_net": model.region_net.linear,
            "hidden": classifier.hidden.linear,
            "output": classifier.output,
        }
        self.words = nn.Embedding(*model.question.words.weight.shape, padding_idx=model.question.pad)
        self.words.load_state_dict(model.question.words.state_dict())
        self.rnn = nn.GRU(model.question.rnn.input_size, model.question.rnn.hidden_size, batch_first=True)
        self.rnn.load_state_dict(model.question.rnn.state_dict())
        self.layers = nn.ModuleDict()
        for name, source in pairs.items():
            outputs, inputs = source.weight_v.shape
            self.layers[name] = _layer(inputs, outputs)
            state = source.state_dict()
            self.layers[name].load_state_dict(
                {
                    "bias": state["bias"],
                    "parametrizations.weight.original0": state["weight_g"],
                    "parametrizations.weight.original1": state["weight_v"],
                }
            )
        self.drop_attention, self.drop_classifier = nn.Dropout(attention.dropout), nn.Dropout(classifier.dropout.p)

    def forward(self, feats: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        layers = self.layers
        question = self.rnn(self.words(tokens))[0][:, -1]  # [b, h]
        regions = F.relu(layers["region"](feats))  # [b, k, h]
        keys = F.relu(layers["key"](question)).unsqueeze(1).repeat(1, feats.shape[1], 1)
        attention = torch.softmax(layers["score"](self.drop_attention(regions * keys)), dim=1)  # [b, k, 1]
        pooled = (attention * feats).sum(1)
        joint = F.relu(layers["question_net"](question)) * F.relu(layers["region_net"](pooled))
        hidden = self.drop_classifier(F.relu(layers["hidden"](joint)))
        return layers["output"](hidden), attention.squeeze(2)
