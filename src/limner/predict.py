"""`limner predict`: answers to a file of questions about a file of regions, from a model package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limner import preflight
from limner.errors import UserError


def main(overrides: list[str], config_dirs: list[str]) -> int:
    """Writes the predictions; the exit code."""
    config = preflight.compose("predict", overrides, config_dirs)
    ids, images, texts = read_questions(Path(config.questions))

    import torch

    from limner import submit
    from limner.answering import Answerer
    from limner.data.features.together import open_stores
    from limner.metrics import rows as rows_of
    from limner.weights import package

    if config.threads:
        torch.set_num_threads(config.threads)
    device = usable(config.device)
    folders = [config.model] if isinstance(config.model, str) else list(config.model)
    answerer = Answerer([package.read(folder) for folder in folders], device=device)
    paths = [config.features] if isinstance(config.features, str) else list(config.features)
    trained_on = answerer.package.meta.get("features") or {}
    store = open_stores(paths, max_regions=trained_on.get("max_regions")) if answerer.feature_dim else None
    if store is not None and trained_on.get("extractor") not in (None, "unknown", store.extractor):
        expected = trained_on["extractor"]
        raise UserError(f"features: extractor is {store.extractor}, but the model was trained on {expected}")
    made = rows(answerer, store, ids, images, texts, config.batch_size)
    out = Path(config.out)
    if config.format == "submission":
        submit.write_vqa_submission(out, made)
    else:
        rows_of.write(out, made)
    print(f"{len(ids):,} answers: {out}")
    return 0


def usable(name: str) -> str:
    """The device to compute on; `auto` takes a GPU when there is one."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"device={name}: cannot be used ({first}); expected auto, cpu, cuda or cuda:N") from None
    return name


def read_questions(path: Path) -> tuple[list[int], list[int], list[str]]:
    """Questions of an official VQA v2 file, or of a plain JSON list of `{question_id, image_id, question}`."""
    from limner.data.vqa_files import read_questions as read_official

    if path.suffix == ".gz" or path.read_bytes().lstrip()[:1] != b"[":
        asked, pictured, spoken = read_official(path)
        return asked.tolist(), pictured.tolist(), spoken
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        found = [(int(r["question_id"]), int(r["image_id"]), str(r["question"])) for r in records]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        expected = 'a list of {"question_id": 1, "image_id": 42, "question": "..."}'
        raise UserError(f"{path}: {error!r}; expected {expected}") from None
    if len({question for question, _, _ in found}) < len(found):
        raise UserError(f"{path}: a question_id stands twice; each question needs its own")
    if not found:
        raise UserError(f"{path}: the list is empty; expected at least one question")
    ids, images, texts = (list(column) for column in zip(*found))
    return ids, images, texts


def rows(
    answerer: Any, store: Any, ids: list[int], images: list[int], texts: list[str], batch_size: int
) -> Iterator[dict[str, Any]]:
    """Rows in the order of the questions; an image's regions are read once for its questions in a batch."""
    import numpy as np
    import torch

    positions = store.positions(np.array(images)) if store is not None else None
    for start in range(0, len(ids), batch_size):
        part = slice(start, start + batch_size)
        if positions is None:
            feats, mask = torch.zeros(1, 1, 0), torch.zeros(1, 1, dtype=torch.bool)
            image = torch.zeros(len(ids[part]), dtype=torch.long)
        else:
            distinct, where = np.unique(positions[part], return_inverse=True)
            regions = store.read(distinct)
            feats, mask = torch.from_numpy(regions.feats), torch.from_numpy(regions.mask)
            image = torch.from_numpy(where)
        for k, answer in enumerate(answerer.batch(feats, mask, image, texts[part])):
            row: dict[str, Any] = {"id": ids[start + k], "question_id": ids[start + k], "image_id": images[start + k]}
            row |= {"question": texts[start + k], "answer": answer.answer, "confidence": round(answer.confidence, 6)}
            row["top5"] = [[text, round(value, 6)] for text, value in answer.top5]
            if answer.attention is not None:
                row["attention"] = [round(a, 5) for a in answer.attention.tolist()]
            yield row
