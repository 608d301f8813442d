"""Caption metrics equal the official code (pycocoevalcap 1.2 and ruotianluo/cider) on real captions of COCO."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from limner.metrics.captions import CaptionMetrics, score, text_frequencies

NAMES = {f"Bleu_{n}": f"bleu_{n}" for n in range(1, 5)} | {"ROUGE_L": "rouge_l", "CIDEr": "cider_d"}
EXACT = 1e-9


def golden(shared: Path, name: str) -> dict:
    return json.loads((shared / "golden/captioner" / name).read_text())


@pytest.mark.parametrize("form", ["raw", "tok"])
def test_coco(shared, form):
    """240 images with held-out, mangled and wrong captions, from text as written and from the official tokens."""
    told = golden(shared, "coco_metrics.json")
    images = told["images"]
    tokenizer = {} if form == "raw" else {"tokenizer": str}
    scores = score(
        {image["image_id"]: image[f"cand_{form}"] for image in images},
        {image["image_id"]: image[f"refs_{form}"] for image in images},
        **tokenizer,
    )
    for official, ours in NAMES.items():
        assert scores.corpus[ours] / 100 == pytest.approx(told["corpus"][official], abs=EXACT), official
        each = [scores.per_image[image["image_id"]][ours] / 100 for image in images]
        np.testing.assert_allclose(each, [image["scores"][official] for image in images], rtol=0, atol=EXACT)


def test_edges(shared):
    """Empty, repeated and unknown words: zero matches give tiny numbers, not zeros."""
    told = golden(shared, "edge_metrics.json")
    scores = score(told["cands"], dict.fromkeys(told["cands"], told["refs"]), tokenizer=str)
    official = told["scores"] | {"CIDEr": told["scores"]["CIDEr_same_refs_everywhere"]}
    for name, ours in NAMES.items():
        assert scores.corpus[ours] / 100 == pytest.approx(official[name]["corpus"], abs=EXACT)
        for caption, value in official[name]["each"].items():
            assert scores.per_image[caption][ours] / 100 == pytest.approx(value, rel=1e-6, abs=EXACT), (name, caption)
    tiny = scores.per_image["one_unknown"]["bleu_4"] / 100
    assert tiny == pytest.approx(official["Bleu_4"]["each"]["one_unknown"], rel=1e-9, abs=0)


@pytest.mark.parametrize("source", ["words_corpus_df", "words_given_df"])
def test_cider(shared, source):
    """CIDEr-D and the plain CIDEr, with document frequencies of the references and of 300 other images."""
    told, images = golden(shared, "ciderd.json"), golden(shared, "coco_metrics.json")["images"]
    frequencies = None
    if source == "words_given_df":
        frequencies = text_frequencies(told["df_corpus_captions"], tokenizer=str)
        assert (frequencies.images, len(frequencies.keys)) == (
            told["df_words"]["ref_len"],
            told["df_words"]["n_ngrams"],
        )
        assert frequencies.counts.sum() == told["df_words"]["sum_counts"]
        for ngram, count in told["df_words"]["top"]:
            assert frequencies.count(*(frequencies.words.index(word) for word in ngram.split())) == count
    metrics = CaptionMetrics(
        {image["image_id"]: image["refs_tok"] for image in images},
        metrics=("cider", "cider_d"),
        frequencies=frequencies,
        tokenizer=str,
    )
    scores = metrics.score({image["image_id"]: image["cand_tok"] for image in images})
    for official, ours in (("CIDErD", "cider_d"), ("CIDEr", "cider")):
        each = [scores.per_image[number][ours] / 100 for number in told["ids"]]
        np.testing.assert_allclose(each, told[source][official], rtol=0, atol=EXACT)
        assert scores.corpus[ours] / 100 == pytest.approx(told[source][f"{official}_mean"], abs=EXACT)


def test_one_image_with_given_frequencies(shared):
    """An image scored alone has the number it has among the others."""
    told, images = golden(shared, "ciderd.json"), golden(shared, "coco_metrics.json")["images"]
    frequencies = text_frequencies(told["df_corpus_captions"], tokenizer=str)
    for image, value in zip(images[:5], told["words_given_df"]["CIDErD"]):
        alone = score({0: image["cand_tok"]}, {0: image["refs_tok"]}, frequencies=frequencies, tokenizer=str)
        assert alone.corpus["cider_d"] / 100 == pytest.approx(value, abs=EXACT)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("java") is None or importlib.util.find_spec("pycocoevalcap") is None,
    reason="needs java and pycocoevalcap: pip install 'limner[metrics]'",
)
def test_meteor(shared):
    """Counts from the official program, the score from our formula; nothing lands in site-packages."""
    folder = Path(next(iter(importlib.util.find_spec("pycocoevalcap").submodule_search_locations)))
    before = sorted(folder.rglob("*"))
    told, edges = golden(shared, "coco_metrics.json"), golden(shared, "edge_metrics.json")
    captions = {image["image_id"]: image["cand_raw"] for image in told["images"]}
    references = {image["image_id"]: image["refs_raw"] for image in told["images"]}
    scores = score(captions, references, metrics=(), java=True)
    assert not [note for note in scores.notes if "METEOR" in note]
    assert scores.corpus["meteor"] / 100 == pytest.approx(told["corpus"]["METEOR"], abs=EXACT)
    for image in told["images"]:
        value = scores.per_image[image["image_id"]]["meteor"] / 100
        assert value == pytest.approx(image["scores"]["METEOR"], abs=EXACT)
    scores = score(edges["cands"], dict.fromkeys(edges["cands"], edges["refs"]), metrics=(), java=True)
    for name, value in edges["scores"]["METEOR"]["each"].items():
        assert scores.per_image[name]["meteor"] / 100 == pytest.approx(value, abs=EXACT), name
    assert sorted(folder.rglob("*")) == before
