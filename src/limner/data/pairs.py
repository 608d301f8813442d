"""Images and texts to pretrain ViLBERT on, as LightningDataModules: captions, or questions with their answers."""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from limner.data import caption_split, vqa_split
from limner.data.caption_files import CaptionFile, read_captions
from limner.data.caption_split import CaptionSplit
from limner.data.dialog_order import DialogOrder
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder
from limner.data.pair_batches import EVALUATION, PairBatches
from limner.data.pair_texts import CaptionTexts, PairTexts, QuestionTexts, caption_pool
from limner.data.region_batches import files_of
from limner.data.vilbert_data import ViLBERTData
from limner.data.vqa_files import load_split
from limner.data.vqa_split import VQASplit
from limner.errors import UserError, listing
from limner.metrics.rows import Row

_SHOWN = 4096  # texts made at once for reports


class PairData(ViLBERTData):
    """What both kinds share. `limner.schema.visdial_pretraining` explains each argument; `PairBatches` says what a
    batch holds. An epoch has every pair once.

    Args:
        vocabulary: see `ViLBERTData`; word parts that are learned know every printable ASCII character too, so that
            later stages can spell what these texts do not say.
        settings: the keys of the config group `data`.
    """

    source: str  #: the key that names the files of each split

    def __init__(self, *, vocabulary: Mapping[str, Sequence[str]] | str | None = None, **settings: Any):
        super().__init__(vocabulary=vocabulary, **settings)
        self.pairs: dict[str, PairTexts] = {}

    # --- what the kinds differ in ---

    @abstractmethod
    def read_split(self, name: str) -> Any:
        """One split of the data set, several files as one, cut to `limit`."""

    @abstractmethod
    def join(self, splits: Sequence[Any]) -> Any:
        """Several splits as one."""

    @abstractmethod
    def written(self, split: Any) -> Iterable[str]:
        """The texts of a split, to learn word parts from."""

    @abstractmethod
    def encode(self, split: Any) -> PairTexts:
        """A split as word parts."""

    # --- reading ---

    def prepare(self) -> None:
        """Reads the splits in use, takes or learns the word parts, checks that every image has what it needs."""
        chosen = self.settings
        used = dict.fromkeys([chosen["select"], *([chosen["test"]] if chosen["test"] else [])])
        taught = chosen["words_from"] if self.vocabulary is None else []
        splits = {name: self.read_split(name) for name in dict.fromkeys([*chosen["fit"], *used, *taught])}
        self.words = self.take_words(
            lambda: [*(text for name in taught for text in self.written(splits[name])), " ".join(string.printable)]
        )
        for name in used:
            self.pairs[name] = self.encoded(splits[name], f"{self.source}.{name}")
        if chosen["fit"]:
            whole = self.join([splits[name] for name in chosen["fit"]])
            self.pairs["fit"] = self.encoded(whole, f"{self.source} of data.fit=[{listing(chosen['fit'])}]")

    def encoded(self, split: Any, source: str) -> PairTexts:
        """A split as word parts, its images checked. Raises `UserError` when there are no pairs."""
        try:
            texts = self.encode(split)
        except UserError as error:
            raise UserError(f"data.{source}: {error}") from None
        if not len(texts.id):
            raise UserError(f"data.{source}: has no text about any image; give a split with texts")
        self.check_images(texts.image_id)
        return texts

    # --- what the model and the task need ---

    def task_arguments(self) -> dict[str, Any]:
        """`text`: how texts become tokens, which a package must say."""
        return {"text": {key: self.settings[key] for key in ("lowercase", "max_length")}}

    def summary(self) -> str:
        """One line: pairs, images, words, what is predicted of regions."""
        texts, store = self.pairs["fit"], self.store
        images = len(np.unique(texts.image_id))
        seen = "no regions"
        if store is not None:
            regions = "not predicted"
            if self.masks_regions:
                regions = f"as {store.classes} classes" if self.predicts_classes else "as features"
            seen = f"{len(store):,} images x {store.dim} features, masked regions {regions}"
        return (
            f"data: {len(texts.id):,} {self.source} about {images:,} images to learn, "
            f"{len(self.words):,} word parts, {seen}"
        )

    @cached_property
    def hashes(self) -> dict[str, str]:
        """A hash of what is trained on and evaluated by, and of the words."""
        import xxhash

        digest = xxhash.xxh3_64()
        for texts in self.pairs.values():
            for array in texts.arrays():
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return {self.source: digest.hexdigest(), "words": self.words.fingerprint}

    # --- batches ---

    def train_dataloader(self) -> BatchLoader:
        """Every pair once an epoch, with the masks of the epoch."""
        texts, chosen = self.pairs["fit"], self.settings
        rank, world = self.share()
        order = DialogOrder(len(texts.id), chosen["batch_size"], seed=chosen["seed"], rank=rank, world=world)
        make = self.batches(texts).training
        return self.region_loader(
            order, lambda numbers: make(*order.items(numbers)), lambda numbers: texts.image_id[order.items(numbers)[1]]
        )

    def batches(self, texts: PairTexts) -> PairBatches:
        """What makes the batches of a split."""
        sizes, counts = self.known(texts.image_id)
        return PairBatches(texts, self.words, self.settings, sizes=sizes, counts=counts)

    def loader(self, split: str) -> BatchLoader:
        """The pairs of a split, those of an image together. Batches are complete, also with `resident`, see
        `limner.data.captions.CaptionData.loader`."""
        return self.evaluation_loader(split, resident=False)

    def evaluation_loader(self, name: str, *, resident: bool | None) -> BatchLoader:
        """Pairs by image. `resident`: row numbers instead of regions; None: as the setting says."""
        texts, size = self.pairs[name], self.settings["eval_batch_size"]
        rank, world = self.share()
        order = BatchOrder(
            len(texts.id), size, seed=0, shuffle=False, groups=texts.image_id, by_group=True, rank=rank, world=world
        )
        return self.region_loader(
            order, self.batches(texts).evaluation, lambda items: texts.image_id[items], resident=resident
        )

    # --- evaluation ---

    def use(self, task: Any, split: str) -> None:
        """Nothing: a batch says itself what is hidden and what is true."""

    def with_truth(self, rows: Sequence[Row], split: str) -> list[Row]:
        """Rows with `text`, what was read with the image before words were hidden."""
        texts = self.pairs[split]
        order = np.argsort(texts.id, kind="stable")
        wanted = np.array([row["id"] for row in rows], np.int64)
        items = order[np.searchsorted(texts.id, wanted, sorter=order)]
        found: list[Row] = []
        for start in range(0, len(rows), _SHOWN):
            read = texts.read(items[start : start + _SHOWN], EVALUATION, share=self.settings["wrong_pairs"])
            for row, tokens, length in zip(rows[start:], read.tokens.tolist(), read.lengths.tolist()):
                found.append({**row, "text": self.words.decode(tokens[:length])})
        return found

    def write_submission(self, path: Path, split: str, rows: Sequence[Row]) -> Path:
        """There is none. Raises `UserError`."""
        raise UserError("submission=true: a pretraining stage has no evaluation server; leave it out")


class CaptionPairs(PairData):
    """Captions and their images: Conceptual Captions, COCO, one's own."""

    source = "captions"

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self._read: dict[str, CaptionFile] = {}

    def prepare(self) -> None:
        super().prepare()
        self._read.clear()  # whole files, read once for all their splits

    def read_split(self, name: str) -> CaptionSplit:
        chosen = self.settings
        paths = files_of(chosen["captions"], name)
        if not paths:
            raise UserError(
                f"data.captions has no split '{name}'; it has {listing(sorted(chosen['captions'])) or 'none'}"
            )
        inside = files_of(chosen["splits_in_file"], name)
        parts = []
        for path in paths:
            if path not in self._read:
                self._read[path] = read_captions(path, image_ids=chosen["image_ids"], cache=chosen["cache"])
            file = self._read[path]
            # a Karpathy file has splits of its own; those of the same name unless others are named
            parts.append(file.select(inside or ([name] if file.parts else None)))
        split, limit = self.join(parts), chosen["limit"]
        return split if limit is None else split.take(np.arange(min(limit, len(split))))

    def join(self, splits: Sequence[CaptionSplit]) -> CaptionSplit:
        return caption_split.join(splits)

    def written(self, split: CaptionSplit) -> Iterable[str]:
        return caption_pool(split)

    def encode(self, split: CaptionSplit) -> CaptionTexts:
        chosen = self.settings
        return CaptionTexts(split, self.words, max_length=chosen["max_length"], cache=chosen["cache"])


class QuestionPairs(PairData):
    """Questions with their answers, and their images: VQA v2."""

    source = "questions"

    def read_split(self, name: str) -> VQASplit:
        chosen = self.settings
        questions, annotations = (files_of(chosen[key], name) for key in ("questions", "annotations"))
        if not questions:
            there = listing(sorted(chosen["questions"])) or "none"
            raise UserError(f"data.questions has no split '{name}'; it has {there}")
        if len(annotations) != len(questions):
            raise UserError(
                f"data.annotations.{name}: {len(annotations)} files for {len(questions)} question files: expected one "
                "for each, in the same order"
            )
        split = self.join([load_split(q, a, cache=chosen["cache"]) for q, a in zip(questions, annotations)])
        limit = chosen["limit"]
        return split if limit is None else split.take(np.arange(min(limit, len(split))))

    def join(self, splits: Sequence[VQASplit]) -> VQASplit:
        return splits[0] if len(splits) == 1 else vqa_split.join(splits)

    def written(self, split: VQASplit) -> Iterable[str]:
        return [*split.questions, *split.strings]

    def encode(self, split: VQASplit) -> QuestionTexts:
        chosen = self.settings
        return QuestionTexts(split, self.words, max_length=chosen["max_length"], cache=chosen["cache"])
