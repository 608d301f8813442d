"""What does not fit together in any training of ViLBERT: with dialogs, captions or questions."""

from __future__ import annotations

from omegaconf import DictConfig


def text_faults(data: DictConfig) -> list[str]:
    """Splits to train on, and word parts, must come from somewhere."""
    faults = []
    if not data.fit:
        faults.append("data.fit is empty: name the splits to train on, such as [train]")
    if data.vocabulary is None and not data.words_from:
        faults.append("data.vocabulary and data.words_from are both empty: give a vocab.txt, or splits to learn from")
    return faults


def length_faults(data: DictConfig, model: DictConfig) -> list[str]:
    """The model must have a position for every token."""
    positions = model.get("positions")
    if positions is None or data.max_length <= positions:
        return []
    return [f"data.max_length={data.max_length} but model.positions={positions}: give at most that many"]
