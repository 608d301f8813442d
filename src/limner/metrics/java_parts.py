"""METEOR and SPICE through the official Java programs, where they are installed. Nothing here raises for their lack.

Both come with pycocoevalcap (`pip install limner[metrics]`, 104 MB), which is found but not imported: its own wrappers
write into site-packages and build SPICE, whose CoreNLP files no package carries, before they compute anything.

METEOR 1.5 (Denkowski, Lavie 2014) is asked for the counts of each caption. The score is computed from them here: a
corpus, one image and a bootstrap sample use one formula.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_CORENLP_URL = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
_FIELDS = 23  # numbers METEOR gives for a caption
# METEOR's parameters for English: recall, fragmentation (exponent, weight), content words, and the four matchers
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.20, 0.60, 0.75
_MATCHERS = np.array((1.0, 0.6, 0.8, 0.6))  # exact, stem, synonym, paraphrase


def meteor_score(counts: np.ndarray) -> np.ndarray:
    """METEOR from its counts (..., 23), of a caption or summed over a corpus: float64 (...), in 0..1."""
    length, reference_length, function, reference_function = np.moveaxis(counts[..., :4], -1, 0)
    # for each matcher: content words of caption and reference, function words of caption and reference
    stages = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 4)
    content, reference_content, plain, reference_plain = np.moveaxis(stages, -1, 0)  # [..., 4]
    chunks, matched, reference_matched = np.moveaxis(counts[..., 20:], -1, 0)

    def share(content: np.ndarray, function: np.ndarray, words: np.ndarray, function_words: np.ndarray) -> np.ndarray:
        found = (_MATCHERS * (_DELTA * content + (1 - _DELTA) * function)).sum(-1)
        return _divide(found, _DELTA * (words - function_words) + (1 - _DELTA) * function_words)

    precision = share(content, plain, length, function)
    recall = share(reference_content, reference_plain, reference_length, reference_function)
    mean = _divide(precision * recall, _ALPHA * precision + (1 - _ALPHA) * recall)
    fragments = _divide(chunks, (matched + reference_matched) / 2)
    return mean * (1 - _GAMMA * fragments**_BETA)


def meteor(
    captions: Sequence[str], references: Sequence[Sequence[str]], *, timeout: float | None = None
) -> tuple[np.ndarray | None, str]:
    """METEOR's counts (N, 23) of tokenised captions with their references, for `meteor_score`; or None and why not.

    timeout: seconds; default 2 minutes and 0.1 s a caption (it needs 5 to 20 s to start, then 1 to 7 ms a caption).
    """
    java, folder, missing = _find("meteor/meteor-1.5.jar")
    if missing:
        return None, f"METEOR not computed: {missing}"
    lines = [" ||| ".join(("SCORE", *map(_field, some), _field(one))) for one, some in zip(captions, references)]
    command = [java, "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(folder / "meteor-1.5.jar")]
    command += ["-", "-", "-stdio", "-l", "en", "-norm"]
    output, problem = _run(command, "\n".join((*lines, "")), timeout or 120 + 0.1 * len(lines))
    if problem:
        return None, f"METEOR not computed: {problem}"
    try:
        counts = np.array([line.split() for line in output.splitlines()], np.float64)
        if counts.shape != (len(lines), _FIELDS):
            raise ValueError
    except ValueError:
        return None, f"METEOR not computed: it did not answer {_FIELDS} counts for each of {len(lines):,} captions"
    # one chunk that covers caption and reference is no fragmentation, in a corpus, too
    whole = (counts[:, 20] == 1) & (counts[:, 21] == counts[:, 0]) & (counts[:, 22] == counts[:, 1])
    counts[whole, 20] = 0
    return counts, ""


def spice(
    captions: Sequence[str], references: Sequence[Sequence[str]], *, timeout: float | None = None
) -> tuple[np.ndarray | None, str]:
    """SPICE (Anderson et al. 2016) of each caption (N,), in 0..1, nan where it is undefined; or None and why not.

    timeout: seconds; default 10 minutes and 0.5 s a caption.
    """
    java, folder, missing = _find_spice()
    if missing:
        return None, f"SPICE not computed: {missing}"
    items = [
        {"image_id": number, "test": one, "refs": list(some)}
        for number, (one, some) in enumerate(zip(captions, references))
    ]
    with tempfile.TemporaryDirectory(prefix="limner-spice-") as name:
        given, found, cache = Path(name) / "in.json", Path(name) / "out.json", Path(name) / "cache"
        cache.mkdir()
        given.write_text(json.dumps(items), encoding="ascii")
        command = [java, "-Xmx8G", "-jar", str(folder / "spice-1.0.jar"), str(given)]
        command += ["-cache", str(cache), "-out", str(found), "-subset", "-silent"]
        _, problem = _run(command, "", timeout or 600 + 0.5 * len(items))
        if problem:
            return None, f"SPICE not computed: {problem}"
        try:
            scores = np.full(len(items), np.nan)
            for item in json.loads(found.read_text(encoding="utf-8")):
                value = item["scores"]["All"]["f"]
                scores[int(item["image_id"])] = np.nan if value is None else float(value)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None, "SPICE not computed: its program ended without readable results"
    return scores, ""


def parts_there() -> dict[str, str]:
    """METEOR and SPICE: what keeps each from being computed, "" for nothing."""
    return {"METEOR": _find("meteor/meteor-1.5.jar")[2], "SPICE": _find_spice()[2]}


def _find_spice() -> tuple[str, Path, str]:
    """As `_find`, with the files of CoreNLP that SPICE needs beside its own."""
    java, folder, missing = _find("spice/spice-1.0.jar")
    lacking = [name for name in CORENLP if not missing and not (folder / "lib" / name).is_file()]
    if lacking:
        missing = f"{' and '.join(lacking)} missing in {folder / 'lib'}; take them out of {_CORENLP_URL}"
    return java, folder, missing


def _find(jar: str) -> tuple[str, Path, str]:
    """The java command, the folder of a program of pycocoevalcap, and what is missing with how to get it."""
    spec = importlib.util.find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        return "", Path(), "pycocoevalcap is not installed; pip install 'limner[metrics]'"
    file = Path(places[0]) / jar
    if not file.is_file():
        return "", Path(), f"{file} is missing; install pycocoevalcap again"
    java = shutil.which("java")
    if java is None:
        return "", Path(), "no java on the PATH; install a Java runtime (8 or later)"
    return java, file.parent, ""


def _run(command: list[str], text: str, timeout: float) -> tuple[str, str]:
    """What a program writes when it reads a text, and what went wrong; it never outlives this call."""
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return "", f"no end after {timeout:,.0f} s"
    except OSError as error:
        return "", f"{command[0]} cannot be started ({error.strerror or error})"
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return "", f"java ended with exit code {done.returncode}: {told[0][:200]}"
    return done.stdout.decode(errors="replace"), ""


def _field(text: str) -> str:
    """A caption as one field of a line for METEOR."""
    return " ".join(text.replace("|||", " ").split())


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients, 0 where the divisor is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)
