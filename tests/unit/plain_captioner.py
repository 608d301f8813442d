"""The Up-Down captioner, written down as plainly as can be: one caption at a time, one word at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from limner.models.updown_captioner import UpDownCaptioner


def regions_of(model: UpDownCaptioner, feats, mask, boxes=None, size=None, given=None):
    """Each image's real regions, a list, and global vectors: what attention and LSTM see. No dropout."""
    rows = [image[real] for image, real in zip(feats, mask)]
    net, vector = model.region_net, model.global_net
    vectors = given if vector.source == "given" else torch.stack([row.mean(0) for row in rows])
    if vector.embedded:
        vectors = F.relu(vector.linear(vectors))
    if model.geometry:
        for k, (row, real) in enumerate(zip(rows, mask)):
            x1, y1, x2, y2 = boxes[k][real].unbind(1)
            w, h = size[k]
            share = (x2 - x1) * (y2 - y1) / (w * h)
            rows[k] = torch.cat((row, torch.stack((x1 / w, y1 / h, x2 / w, y2 / h, share), 1)), 1)
    if net.embedded:
        every = torch.cat(rows)
        every = every if net.norm_before is None else net.norm_before(every)
        every = F.relu(net.linear(every))
        every = every if net.norm_after is None else net.norm_after(every)
        rows = list(every.split([len(row) for row in rows]))
    return rows, vectors


def log_probs(model: UpDownCaptioner, rows, vectors, image, tokens, lengths):
    """Caption -> (log-probabilities (T, V+1), attention (T, its regions)), from `regions_of`."""
    found = []
    for k, (row, length) in enumerate(zip(image.tolist(), lengths.tolist())):
        zero = vectors.new_zeros(1, model.hidden)
        h1, c1, h2, c2 = zero, zero, zero, zero
        logs, weights = [], []
        for t in range(length):
            word = model.words.weight[tokens[k, t]]
            word = F.relu(word) if model.word_relu else word
            h1, c1 = model.attention_lstm(torch.cat((h2[0], vectors[row], word))[None], (h1, c1))
            layers = model.attention
            scores = layers.score(torch.tanh(layers.region(rows[row]) + layers.query(h1))).squeeze(1)
            alpha = scores.softmax(0)
            h2, c2 = model.language_lstm(torch.cat((alpha @ rows[row], h1[0]))[None], (h2, c2))
            logs.append(model.word_layer(h2[0]).log_softmax(0))
            weights.append(alpha)
        found.append((logs, weights))
    return found
