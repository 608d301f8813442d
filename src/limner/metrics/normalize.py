"""The text rules of the official VQA evaluation, with every quirk that changes a score.

Source: the behaviour of VQAEval (VQA v2 release, Python 2.7); `preprocess_answer` of bottom-up-attention-vqa gives the
same strings, so there is one function for both. Rules, in order:

1. punctuation: a mark that stands beside a space somewhere, or any mark in a text with digit,comma,digit, is deleted
   wherever it occurs; otherwise each occurrence becomes a space. "a,b" -> "a b", "1,000 red/white" -> "1000 redwhite".
2. periods not before a digit are deleted, the first 32 of them (the original passes a flag where a count belongs).
3. lower case; none and zero to ten become digits; a, an, the are dropped: "the" becomes "".
4. contractions get their apostrophe back: "dont" -> "don't".
"""

from __future__ import annotations

import re
from functools import lru_cache

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA_DIGIT = re.compile(r"[0-9],[0-9]")  # ASCII digits: what \d meant to the original's Python
_PERIOD = re.compile(r"\.(?![0-9])")
_MAX_PERIODS = 32
_ARTICLES = frozenset(("a", "an", "the"))
_COUNTING = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_COUNTING.split())}

_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _contraction_table() -> dict[str, str]:
    """A form written with exactly one of its apostrophes missing -> the form.

    Words that a reader would expect here and the original lacks: lets, shes, id, im, ive (its upper-case entries never
    match lower-cased words). One entry goes the wrong way round.
    """
    table = {}
    for form in _CONTRACTIONS.split():
        for place, character in enumerate(form):
            if character == "'":
                table[form[:place] + form[place + 1 :]] = form
    table["somebody'd"] = "somebodyd"
    return table


_APOSTROPHES = _contraction_table()


def strip_punctuation(text: str) -> str:
    """Rules 1 and 2 on a text as written."""
    number = _DIGIT_COMMA_DIGIT.search(text) is not None
    result = text
    for mark in _MARKS:
        if mark in text:
            beside_space = f"{mark} " in text or f" {mark}" in text
            result = result.replace(mark, "" if number or beside_space else " ")
    return _PERIOD.sub("", result, count=_MAX_PERIODS)


def plain_words(text: str) -> str:
    """Rules 3 and 4 on a text without punctuation; white space becomes single spaces."""
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


@lru_cache(maxsize=1 << 20)  # the 6.6 million answers of VQA v2 train and val are some 200,000 different strings
def normalize_answer(text: str) -> str:
    """An answer in the form in which the official evaluator compares it (rules 1 to 4); "" for a lone article."""
    return plain_words(strip_punctuation(text))


def clean_space(text: str) -> str:
    """What the evaluator does to every answer, normalised or not: newline and tab to space, ends stripped."""
    return text.replace("\n", " ").replace("\t", " ").strip()
