"""The straightforward Up-Down captioner: what the published code computes, step by step as it is published.

The yardstick of `captioner.py`. Prepared regions are copied for every caption; every step runs both LSTMs, the
attention and the word layer for all captions, ended or not, and writes its log-probabilities into an (N, T, V+1)
tensor. Beam search sorts all candidates, carries the whole log-probabilities of every beam along and runs 20 steps.
SCST decodes greedily for the baseline and keeps the log-probabilities of all steps of the samples. The layers are
torch's own, the results those of `UpDownCaptioner` with the same weights, so only the way is compared.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.models.updown_captioner import UpDownCaptioner

STEPS = 20  # that decoding always makes


class PlainCaptioner(nn.Module):
    """The widely used variant at the sizes of `model`, with its weights."""

    def __init__(self, model: UpDownCaptioner) -> None:
        super().__init__()
        self.eos, self.bos, self.hidden = model.eos, model.bos, model.hidden
        hidden = model.hidden
        self.words = nn.Embedding(*model.words.weight.shape)
        self.region, self.vector = (_like(net.linear) for net in (model.region_net, model.global_net))
        self.key, self.query = _like(model.attention.region), _like(model.attention.query)
        self.score, self.output = _like(model.attention.score), _like(model.word_layer)
        self.lstm1 = nn.LSTMCell(model.attention_lstm.input_size, hidden)
        self.lstm2 = nn.LSTMCell(model.language_lstm.input_size, hidden)
        mine = (self.words, self.region, self.vector, self.key, self.query, self.score, self.output)
        attention = model.attention
        theirs = (model.words, model.region_net.linear, model.global_net.linear, attention.region, attention.query)
        theirs += (attention.score, model.word_layer)
        for a, b in zip((*mine, self.lstm1, self.lstm2), (*theirs, model.attention_lstm, model.language_lstm)):
            a.load_state_dict(b.state_dict())
        self.drop = nn.Dropout(model.dropout_output)

    def prepare(self, feats: Tensor, copies: int) -> tuple[Tensor, Tensor, Tensor]:
        """Global vectors, regions and their keys, `copies` times for each image."""
        vector = self.drop(F.relu(self.vector(feats.mean(1))))
        regions = self.drop(F.relu(self.region(feats)))
        return repeated((vector, regions, self.key(regions)), copies)

    def start(self, rows: int) -> tuple[Tensor, ...]:
        return tuple(self.output.weight.new_zeros(rows, self.hidden) for _ in range(4))

    def step(self, word: Tensor, prepared: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        """Log-probabilities `(N, V+1)` of the next word, and the state."""
        vector, regions, keys = prepared
        h1, c1, h2, c2 = state
        x = self.drop(F.relu(self.words(word)))
        h1, c1 = self.lstm1(torch.cat((h2, vector, x), 1), (h1, c1))
        joint = torch.tanh(keys + self.query(h1).unsqueeze(1))
        weights = F.softmax(self.score(joint).squeeze(2), dim=1)
        pooled = torch.bmm(weights.unsqueeze(1), regions).squeeze(1)
        h2, c2 = self.lstm2(torch.cat((pooled, h1), 1), (h2, c2))
        return F.log_softmax(self.output(self.drop(h2)), dim=1), (h1, c1, h2, c2)

    def forward(self, feats: Tensor, tokens: Tensor, copies: int) -> Tensor:
        """Teacher-forced log-probabilities `(N, T, V+1)`; `copies` captions an image, in the images' order."""
        prepared, state = self.prepare(feats, copies), self.start(len(tokens))
        steps = tokens.shape[1] - 1
        outputs = feats.new_zeros(len(tokens), steps, self.eos + 1)
        read = tokens.clamp(max=self.bos)  # padding is read as the start
        for t in range(steps):
            if t and bool((tokens[:, t] >= self.eos).all()):
                break
            outputs[:, t], state = self.step(read[:, t], prepared, state)
        return outputs

    def loss(self, feats: Tensor, tokens: Tensor, lengths: Tensor, copies: int) -> Tensor:
        """Cross-entropy, its mean over real tokens."""
        outputs, targets = self(feats, tokens, copies), tokens[:, 1:].clamp(max=self.eos)
        mask = (torch.arange(targets.shape[1], device=lengths.device) < lengths[:, None]).to(outputs.dtype)
        return -(outputs.gather(2, targets.unsqueeze(2)).squeeze(2) * mask).sum() / mask.sum()

    def sample(self, feats: Tensor, copies: int, *, greedy: bool) -> tuple[Tensor, Tensor]:
        """Captions `(N, 20)`, EOS after their end, and the log-probabilities of every step `(N, 20, V+1)`."""
        rows = len(feats) * copies
        prepared, state = self.prepare(feats, copies), self.start(rows)
        tokens = torch.full((rows, STEPS), self.eos, device=feats.device)
        logs = feats.new_zeros(rows, STEPS, self.eos + 1)
        word, live = tokens.new_full((rows,), self.bos), torch.ones(rows, dtype=torch.bool, device=feats.device)
        for t in range(STEPS):
            logp, state = self.step(word, prepared, state)
            word = logp.argmax(1) if greedy else torch.multinomial(logp.detach().exp(), 1).squeeze(1)
            word = torch.where(live, word, self.eos)
            tokens[:, t], logs[:, t] = word, logp
            live = live & (word != self.eos)
            if not live.any():
                break
        return tokens, logs

    def scst(self, feats: Tensor, copies: int, reward: Any) -> Tensor:
        """Self-critical loss with the greedy baseline; `reward(tokens (N, 20), copies)` gives `(N,)`."""
        self.eval()
        with torch.no_grad():
            greedy, _ = self.sample(feats, 1, greedy=True)
        self.train()
        tokens, logs = self.sample(feats, copies, greedy=False)
        advantage = reward(tokens, copies) - reward(greedy, 1).repeat_interleave(copies)
        ended = (tokens == self.eos).long()
        mask = (ended.cumsum(1) - ended == 0).to(logs.dtype)  # the end counts, what follows does not
        chosen = logs.gather(2, tokens.unsqueeze(2)).squeeze(2)
        return -(chosen * mask * advantage.unsqueeze(1)).sum() / mask.sum()

    @torch.no_grad()
    def beam(self, feats: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The best caption of each image `(I, 20)`, EOS after its end, and its log-probability `(I,)`."""
        images, width = len(feats), self.eos + 1
        prepared, state = self.prepare(feats, 1), self.start(images)
        logp, state = self.step(torch.full((images,), self.bos, device=feats.device), prepared, state)
        prepared, state = repeated(prepared, size), repeated(state, size)
        sums, word = (part[:, :size] for part in torch.sort(logp, dim=1, descending=True))
        tokens = word.unsqueeze(2)
        history = logp.view(images, 1, 1, width).expand(images, size, 1, width).clone()
        offset = torch.arange(images, device=feats.device).unsqueeze(1) * size
        for _ in range(1, STEPS):
            logp, state = self.step(tokens[:, :, -1].flatten(), prepared, state)
            logp = logp.view(images, size, width).clone()
            over = tokens[:, :, -1] == self.eos  # an ended beam goes on with EOS, at no cost
            logp[over] = float("-inf")
            logp[..., self.eos] = torch.where(over, 0.0, logp[..., self.eos])
            ranked, place = torch.sort((sums.unsqueeze(2) + logp).flatten(1), dim=1, descending=True)
            sums, place = ranked[:, :size], place[:, :size]
            parent, word = place // width, place % width
            rows = (offset + parent).flatten()
            tokens = torch.cat((tokens.flatten(0, 1)[rows].view_as(tokens), word.unsqueeze(2)), 2)
            history = torch.cat((history, logp.unsqueeze(2)), 2).flatten(0, 1)[rows].unflatten(0, (images, size))
            state = tuple(part[rows] for part in state)
        return tokens[:, 0], sums[:, 0]


def repeated(tensors: tuple[Tensor, ...], copies: int) -> tuple[Tensor, ...]:
    """Every row `copies` times, as copies."""
    return tuple(x.repeat_interleave(copies, 0) for x in tensors) if copies > 1 else tensors


def _like(layer: nn.Linear) -> nn.Linear:
    return nn.Linear(layer.in_features, layer.out_features)
