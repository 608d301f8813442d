"""Captioning in reports: metrics, CIDEr-D by length and regions, words, single captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from limner.metrics.rows import Row
from limner.reports.curves import Panel
from limner.reports.examples import Group, one_an_image, sections_of, shuffled
from limner.reports.page import Html, details, note, percent_bar, section, table
from limner.reports.source import Source, interval_of, number
from limner.reports.tables import by_range
from limner.reports.tasks.base import TaskReport, Told
from limner.reports.tasks.caption_cards import card, words_of
from limner.reports.tasks.caption_words import Use, usage
from limner.word_lists import BAD_ENDINGS

NAMES = {
    "score": "CIDEr-D",
    "cider_d": "CIDEr-D",
    "cider": "CIDEr",
    **{f"bleu_{n}": f"BLEU-{n}" for n in (1, 2, 3, 4)},
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "spice": "SPICE",
    "length": "words in a caption",
    "ended": "captions that end by themselves",
    "bad_endings": "captions that end badly",
}
"""What the metrics of metrics.json are called on the page; others keep their name."""
ABOUT_REGIONS = (
    "Under each word: the regions the model looked at when it said it, as opaque as its attention to them next to the "
    "strongest one, whose share is written beside the word."
)


class CaptionItem(NamedTuple):
    id: Any
    image: int | None
    score: float | None  #: CIDEr-D in percent; None where nobody annotated
    words: tuple[str, ...]  #: as the model wrote them
    regions: int | None  #: how many it looked at
    logp: float | None
    truth: tuple[str, ...]  #: people's captions as given, sorted
    rouge_l: float | None = None  #: percent
    bleu_4: float | None = None  #: of this caption alone, percent


class CaptionReport(TaskReport[CaptionItem]):
    name = "captioning"
    row_key = "caption"
    items = "images"
    score = "CIDEr-D"
    keys = (
        *("weights", "model.embed_dim", "model.hidden", "decode._target_", "decode.size"),
        *("scst.start_epoch", "scst.sampler", "scst.samples", "scst.baseline", "scst.loss"),
    )
    panels = (
        Panel("rewards", ("train/sample_reward", "train/greedy_reward", "train/baseline")),
        Panel("spread of the advantage", ("train/advantage_std",)),
        Panel("words in a caption", ("train/length", "val/length")),
        Panel("how captions end", ("train/ended", "val/ended", "train/bad_endings", "val/bad_endings")),
    )
    phase = ("SCST", "train/sample_reward")
    also: Mapping[str, Callable[[CaptionItem], float | None]] = {
        "ROUGE-L": lambda one: one.rouge_l,
        "BLEU-4, mean of captions": lambda one: one.bleu_4,  # the corpus' own is no mean
    }
    truths = "have other captions of people"

    def item(self, row: Row) -> CaptionItem:
        attention = row.get("attention") or []
        return CaptionItem(
            row["id"],
            row.get("image_id"),
            number(row.get("cider_d")),
            tuple(words_of(row)),
            len(attention[0]) if attention else None,
            number(row.get("logp")),
            tuple(sorted(map(str, row.get("references") or []))),
            number(row.get("rouge_l")),
            number(row.get("bleu_4")),
        )

    def sections(self, source: Source, items: Sequence[CaptionItem], images: Path | None, show: int) -> dict[str, Html]:
        parts = {"Metrics": metrics(source), "By length": by_length(items), "Words": words(items)}
        return parts | sections_of(source, items, chosen(items, show), images, card, ABOUT_REGIONS)

    def told(self, row: Row) -> Told:
        references = [str(reference) for reference in row.get("references") or []]
        return Told(f"image {row.get('image_id', row['id'])}", str(row.get("caption", "")), references)


def metrics(source: Source) -> Html:
    """Everything that metrics.json says."""
    found = source.metrics()
    values = {name: number(value) for name, value in (found.get("metrics") or {}).items()}
    rows = [
        (NAMES.get(name, name), f"{value:.2f}", interval_of(found, name))
        for name, value in values.items()
        if value is not None and not (name == "cider_d" and value == values.get("score"))
    ]
    if not rows:
        return section("Metrics", note("No metrics: the split is not annotated, or metrics.json is not here."))
    told = [note(str(line)) for line in found.get("notes") or []]
    return section("Metrics", table(("", "#", "#95 % interval"), rows), *told)


def by_length(items: Sequence[CaptionItem]) -> Html:
    """CIDEr-D by what can be known without the references."""
    values: dict[str, Callable[[CaptionItem], float | None]] = {
        "words in the caption": lambda one: len(one.words),
        "regions": lambda one: one.regions,
        "log-probability a word": lambda one: None if one.logp is None else one.logp / (len(one.words) + 1),  # and EOS
    }
    parts = []
    for title, value in values.items():
        found = by_range(items, value)
        if not found:
            continue
        top = max(one.score for one in found) or 1.0
        rows = [
            (one.name, f"{one.items:,}", f"{one.score:.1f}", f"{one.margin:.1f}", percent_bar(100 * one.score / top))
            for one in found
        ]
        parts.append(table((title, "#images", "#CIDEr-D", "#±", ""), rows))
    if not parts:
        return section("By length", note("The rows have no CIDEr-D: the split is not annotated."))
    return section("By length", *parts, '<p class="small">±: half of a 95 % interval.</p>')


def words(items: Sequence[CaptionItem], show: int = 20) -> Html:
    """Which words the model uses, next to people."""
    if not items:
        return section("Words", note("There are no captions."))
    found = usage([one.words for one in items], people(items), bad=BAD_ENDINGS, show=show)
    about = (
        f"{found.captions:,} captions with {found.words:,} different words, {found.length:.1f} words long on average. "
        f"{found.distinct:,} of them ({100 * found.distinct / found.captions:.0f} %) are different captions. "
        f"{found.bad:,} ({100 * found.bad / found.captions:.1f} %) end badly, with a word such as “a” or “of”."
    )
    parts = [f"<p>{about}</p>", used(found.most)]
    if found.missing:
        parts.append(details(f"the {len(found.missing)} most frequent words it never says", used(found.missing)))
    if found.repeated:
        rows = [(caption, f"{count:,}") for caption, count in found.repeated]
        parts.append(details("captions it gives most often", table(("caption", "#images"), rows)))
    if found.last:
        last = [(word, f"{count:,}", f"{100 * count / found.captions:.1f}") for word, count in found.last]
        parts.append(details("last words", table(("word", "#captions", "#%"), last)))
    return section("Words", *parts)


def used(words: Sequence[Use]) -> Html:
    """A table of words."""
    rows = [
        (one.word, f"{one.model:.1f}", "" if one.people is None else f"{one.people:.1f}", percent_bar(one.model))
        for one in words
    ]
    return table(("word", "#% of its captions", "#% of people's", ""), rows)


def people(items: Sequence[CaptionItem]) -> list[list[str]]:
    """All captions of people, in the words that metrics count."""
    from limner.metrics.coco_tokens import tokenize

    return [tokenize(reference).split() for one in items for reference in one.truth]


def chosen(items: Sequence[CaptionItem], show: int) -> dict[str, Group]:
    """Which captions to show: the worst, the best, and some that stand for all; one an image."""
    scored = sorted((one for one in items if one.score is not None), key=lambda one: (one.score, str(one.id)))
    if not scored:
        return {"Captions": Group(one_an_image(shuffled(items), show))}
    middle = (len(scored) + 1) // 2  # of a few captions, none is shown as both
    worst, best = one_an_image(scored[:middle], show), one_an_image(scored[middle:][::-1], show // 2)
    picked = {
        "Worst": Group(worst, "bad", "The captions with the lowest CIDEr-D."),
        "Best": Group(best, "good", "The captions with the highest CIDEr-D."),
    }
    shown = {one.id for group in picked.values() for one in group.items}
    rest = [one for one in shuffled(scored) if one.id not in shown]
    return picked | {"Random": Group(one_an_image(rest, show // 2), "", "Some that were not chosen by their score.")}
