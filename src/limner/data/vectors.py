"""Word and answer vectors that a VQA model starts from (Teney et al. 2018: rows of the two output streams)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.data.glove import read_glove
from limner.data.pickles import load_table
from limner.errors import UserError
from limner.models.updown_vqa import TwoStream


def initialise(
    model: Any, words: Sequence[str], answers: Sequence[str], *, glove: str | None, answer_images: str | None
) -> None:
    """Puts GloVe vectors into word and answer rows, and image vectors into answer rows, where they are given.

    Args:
        model: `UpDownVQA`; its answer rows are set when it has two output streams.
        words, answers: in the order of their ids.
        glove: text file with vectors of the model's `embed_dim`. answer_images: .npy matrix (A, D).

    Raises:
        UserError: a file cannot be read or has another size than the model, or `answer_images` is given for a model
            without an image stream.
    """
    streams: dict[str, Any] = {}
    if glove is not None:
        two = isinstance(model.classifier, TwoStream)
        dim = model.question.words.embedding_dim
        spoken = {word for answer in answers for word in answer.split()} if two else set()
        wanted = [*words, *sorted(spoken.difference(words))]  # each word once: it has one vector
        found = read_glove(glove, wanted, dim=dim)
        model.init_words(torch.from_numpy(found.vectors[: len(words)]))
        print(f"GloVe: {found.summary()}")
        if two:
            streams["text"] = torch.from_numpy(mean_vectors(answers, dict(zip(wanted, found.vectors)), dim))
    if answer_images is not None:
        streams["image"] = torch.from_numpy(image_vectors(answer_images, len(answers)))
    if streams:
        model.init_answers(**streams)


def mean_vectors(answers: Sequence[str], vectors: Mapping[str, np.ndarray], dim: int) -> np.ndarray:
    """(A, dim) mean vector of each answer's words; zero for an answer without words."""
    out = np.zeros((len(answers), dim), np.float32)
    for k, answer in enumerate(answers):
        if answer.split():
            out[k] = np.mean([vectors[word] for word in answer.split()], axis=0)
    return out


def image_vectors(path: str | Path, answers: int) -> np.ndarray:
    """(A, D) float32, one row for each answer in label order, from a .npy file."""
    matrix = load_table(Path(path))
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or len(matrix) != answers:
        found = f"shape {matrix.shape}" if isinstance(matrix, np.ndarray) else f"a {type(matrix).__name__}"
        expected = f"a .npy matrix of {answers:,} rows, one for each answer in label order"
        raise UserError(f"data.answer_images: {path} holds {found}, expected {expected}")
    return np.asarray(matrix, np.float32)
