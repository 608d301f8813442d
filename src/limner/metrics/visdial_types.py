"""Types of questions in dialogs, by their first words. VisDial itself names none."""

from __future__ import annotations

import re

TYPES = ("yes/no", "what", "what color", "how many", "where", "who", "how", "which", "why, when", "other")
_YES_NO = (
    r"any(?:thing|one|body|where)?|(?:is|are|was|were|do|does|did|ca|could|has|have|had|would|should)n't|"
    r"is|are|was|were|am|do|does|did|can|could|has|have|had|will|would|should|may|might"
)
_FIRST = (
    ("how many", r"(?:about |approximately )?how many|what number|what is the number"),
    ("what color", r"what (?:is |are |'s )?(?:the |its |his |her |their )?(?:main )?colou?rs?\b"),
    ("where", r"where"),
    ("who", r"who|whose|whom"),
    ("which", r"which"),
    ("why, when", r"why|when|what time"),
    ("how", r"how"),
    ("what", r"what|what's|whats"),
    ("yes/no", _YES_NO),
)
_RULES = [(name, re.compile(rf"(?:{pattern})(?!\w)")) for name, pattern in _FIRST]
_LEAD = re.compile(r"(?:(?:and|so|or|but|ok|okay|then|also|well|oh|now)\b[ ,]*)+")


def question_type(question: str) -> str:
    """One of `TYPES`: "and what color is it" is "what color"."""
    text = " ".join(question.lower().split())
    lead = _LEAD.match(text)
    rest = text[lead.end() :] if lead else text
    return next((name for name, rule in _RULES if rule.match(rest)), "other")
