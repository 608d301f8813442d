"""Two published lists of words, for decoding rules, their config and reports; nothing heavy is imported here."""

from __future__ import annotations

# words that the release of "Bottom-Up and Top-Down Attention" allows several times in a caption
REPEATABLE = (
    "a", "the", "of", ",", "on", "in", "with", "and", "is", "an", '"', "to", "some", "at", "are", "it", "that", "'",
    "by",
)  # fmt: skip
# words that do not end a caption (the list of ImageCaptioning.pytorch)
BAD_ENDINGS = (
    "a", "an", "the", "in", "for", "at", "of", "with", "before", "after", "on", "upon", "near", "to", "is", "are", "am",
)  # fmt: skip
