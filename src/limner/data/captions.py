"""Captions as a LightningDataModule: caption files and a feature store in; batches, references and packages out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.data.caption_files import CaptionFile, read_captions
from limner.data.caption_items import CaptionItems
from limner.data.caption_order import CaptionOrder
from limner.data.caption_split import CaptionSplit, References, join
from limner.data.caption_words import CaptionVocabulary
from limner.data.features.together import open_stores
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder
from limner.data.region_batches import RegionData, files_of
from limner.errors import UserError, listing
from limner.metrics.rows import Row
from limner.weights import package

About = Callable[[np.ndarray], dict[str, Any]]


class CaptionData(RegionData):
    """Images, their regions and their captions. `limner.schema.captions_data.CaptionData` explains each argument.

    The items of a batch are images. Keys: `id (I,)` image ids, `feats`, `boxes`, `mask` as in VQA; `size (I,2)` float32
    width and height when the store knows them for all images of the split; `global (I,G)` float32 with
    `global_features`. In training also `image (N,)`, `tokens (N,T+1)`, `lengths (N,)`, see `CaptionItems.batch`.

    Args:
        vocabulary: `words` of a trained model; None builds them from the data.
        settings: the keys of the config group `data`.
    """

    def __init__(self, *, vocabulary: Mapping[str, Sequence[str]] | None = None, **settings: Any):
        super().__init__(settings)
        if self.store is None:
            raise UserError("data.features is empty: a captioner looks at regions; give feature stores")
        self.given = vocabulary
        self.splits: dict[str, CaptionSplit] = {}
        self.fit: CaptionSplit | None = None
        self.items: CaptionItems | None = None
        paths = settings["global_features"]
        self.vectors = open_stores(paths) if paths else None

    # --- reading ---

    def prepare(self) -> None:
        """Reads the splits in use, builds or takes the vocabulary, checks that every image has what it needs."""
        chosen = self.settings
        used = dict.fromkeys([*chosen["fit"], chosen["select"], *([chosen["test"]] if chosen["test"] else [])])
        spoken = chosen["fit"] if chosen["words_from"] is None else chosen["words_from"]
        read: dict[str, CaptionFile] = {}
        self.splits = {name: self.read_split(name, read) for name in dict.fromkeys([*spoken, *used])}
        self.words = CaptionVocabulary(self.given["words"]) if self.given is not None else self.count_words(spoken)
        for name in used:
            self.check_features(self.splits[name])
        if chosen["fit"]:
            self.fit = join([self.splits[name] for name in chosen["fit"]])
            self.items = CaptionItems(self.fit, self.words, max_length=chosen["max_length"])
            self.check_learnable(self.items)

    def read_split(self, name: str, read: dict[str, CaptionFile]) -> CaptionSplit:
        """One split of the data set, several files as one, cut to `limit` images. `read` keeps whole files."""
        chosen = self.settings
        paths = files_of(chosen["captions"], name)
        if not paths:
            there = listing(sorted(chosen["captions"])) or "none"
            raise UserError(f"data.captions has no split '{name}'; it has {there}")
        inside = files_of(chosen["splits_in_file"], name)
        parts = []
        for path in paths:
            if path not in read:
                how = {key: chosen[key] for key in ("tokens", "image_ids", "cache")}
                read[path] = read_captions(path, **how)
            # a Karpathy file has splits of its own; those of the same name unless others are named
            parts.append(read[path].select(inside or ([name] if read[path].parts else None)))
        split = join(parts)
        limit = chosen["limit"]
        return split if limit is None else split.take(np.arange(min(limit, len(split))))

    def count_words(self, names: Sequence[str]) -> CaptionVocabulary:
        """The words of some splits that occur often enough; with `limit`, all of them."""
        counts: Counter[str] = Counter()
        for name in names:
            counts.update(self.splits[name].counts())
        if not counts:
            raise UserError(f"data.words_from: there are no captions to take words from in {listing(names) or 'none'}")
        return CaptionVocabulary.from_counts(counts, 1 if self.settings["limit"] else self.settings["min_count"])

    def check_features(self, split: CaptionSplit) -> None:
        """Every image has regions, and one vector where vectors are given; else an error that lists the first few."""
        assert self.store is not None
        self.store.positions(split.image_id)
        if self.vectors is None:
            return
        several = np.flatnonzero(self.vectors.counts(self.vectors.positions(split.image_id)) != 1)
        if len(several):
            few = listing(split.image_id[several[:5]].tolist(), len(several))
            raise UserError(
                f"{self.vectors.path}: these images have not one vector each: {few}; data.global_features names stores "
                "with one region for an image"
            )

    def check_learnable(self, items: CaptionItems) -> None:
        """Refuses a training image without a caption, and a `select` split without any."""
        silent = np.flatnonzero(np.diff(items.first) == 0)
        if len(silent):
            few = listing(items.split.image_id[silent[:5]].tolist(), len(silent))
            fit = listing(self.settings["fit"])
            raise UserError(f"data.captions: images of data.fit=[{fit}] have no caption: ids {few}; leave them out")
        select = self.settings["select"]
        if not self.splits[select].annotated:
            raise UserError(f"data.captions.{select}: has no captions, but data.select={select} picks the best epoch")

    # --- what the model and the task need ---

    def sizes(self) -> dict[str, int]:
        """Constructor arguments of the model that the data decide."""
        assert self.store is not None
        given = {"global_dim": self.vectors.dim} if self.vectors is not None else {}
        return {"words": len(self.words), "feature_dim": self.store.dim, **given}

    def task_arguments(self) -> dict[str, Any]:
        """`vocabulary`, and `references`: image id -> lists of words of every training image; None without training."""
        return {"vocabulary": self.words, "references": self.references("fit") if self.fit is not None else None}

    def references(self, split: str, *, raw: bool = False) -> References:
        """Image id -> captions, as lists of words, or as they were written (`raw`). "fit": all training images."""
        chosen = self.fit if split == "fit" else self.splits[split]
        assert chosen is not None
        return References(chosen, raw=raw)

    def initialise(self, model: Any) -> None:
        """Nothing: word vectors begin as the model draws them."""

    def summary(self) -> str:
        """One line: images, captions and how long they are, words and how much they miss."""
        items = self.items
        assert items is not None
        assert self.store is not None
        wordless = f", {items.wordless:,} without a word left out" if items.wordless else ""
        cut, unknown = 100 * items.cut_share(), 100 * items.unknown_share()
        return (
            f"data: {len(items.split):,} images with {len(items):,} captions to learn (longest {items.longest} words, "
            f"{cut:.2f} % cut at {items.max_length}{wordless}), {len(self.words):,} words ({unknown:.2f} % unknown), "
            f"{len(self.store):,} images x {self.store.dim} features"
        )

    def fingerprint(self) -> dict[str, str]:
        return {**self.hashes, **super().fingerprint()}

    @cached_property
    def hashes(self) -> dict[str, str]:
        """A hash of what is trained on and evaluated by, and of the words."""
        import xxhash

        captions = xxhash.xxh3_64()
        items, splits = self.items, [self.settings[name] for name in ("select", "test") if self.settings[name]]
        parts = [] if items is None else [items.split.image_id, items.first, items.tokens, items.offsets, items.lengths]
        for split in (self.splits[name] for name in dict.fromkeys(splits)):
            written = [split.text[start:end] for start, end in split.where.tolist()]
            parts += [split.image_id, split.first, *written]
        for part in parts:
            captions.update(np.ascontiguousarray(part).view(np.uint8).data)
        found = {"captions": captions.hexdigest()}
        found["words"] = xxhash.xxh3_64_hexdigest("\n".join(self.words.words).encode())
        if self.vectors is not None:
            found["global_features"] = self.vectors.fingerprint
        return found

    # --- batches ---

    def train_dataloader(self) -> BatchLoader:
        """Images with the captions drawn for this epoch."""
        items, chosen = self.items, self.settings
        assert items is not None
        rank, world = self.share()
        order = CaptionOrder(
            items.first,
            chosen["batch_size"],
            seed=chosen["seed"],
            captions_per_image=chosen["captions_per_image"],
            rank=rank,
            world=world,
        )
        about = self.about(items.split)

        def make(captions: np.ndarray) -> dict[str, Any]:
            return {**items.batch(captions), **about(np.unique(items.owner[captions]))}

        return self.region_loader(order, make, lambda captions: items.split.image_id[items.owner[captions]])

    def val_dataloader(self) -> BatchLoader:
        return self.evaluation_loader(self.settings["select"], resident=None)

    def loader(self, split: str) -> BatchLoader:
        """The images of a split by ascending id, without captions.

        Batches are complete, also with `resident`: who draws them may not call `on_after_batch_transfer` (Lightning
        does so only when it is given this module, not the loader alone).
        """
        return self.evaluation_loader(split, resident=False)

    def evaluation_loader(self, name: str, *, resident: bool | None) -> BatchLoader:
        """Images in order. `resident`: row numbers instead of regions; None: as the setting says."""
        split, size = self.splits[name], self.settings["eval_batch_size"]
        rank, world = self.share()
        order = BatchOrder(len(split), size, seed=self.settings["seed"], shuffle=False, rank=rank, world=world)
        return self.region_loader(order, self.about(split), lambda images: split.image_id[images], resident=resident)

    def about(self, split: CaptionSplit) -> About:
        """A function from places in a split to what a batch says of these images beside their regions."""
        store, vectors, ids = self.store, self.vectors, split.image_id
        assert store is not None
        sizes = np.array([store.size(place) for place in store.positions(ids).tolist()], np.float32).reshape(-1, 2)
        rows = vectors.positions(ids) if vectors is not None else None

        def made(places: np.ndarray) -> dict[str, Any]:
            batch = {"id": torch.from_numpy(ids[places])}
            if sizes.all():
                batch["size"] = torch.from_numpy(sizes[places])
            if vectors is not None and rows is not None:
                batch["global"] = torch.from_numpy(vectors.read(rows[places]).feats[:, 0].astype(np.float32))
            return batch

        return made

    # --- evaluation ---

    def use(self, task: Any, split: str) -> None:
        """Tells the task what people said about the images of a split; None when the file has no captions."""
        task.references = dict(self.references(split, raw=True)) or None

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer is not None:
            self.use(self.trainer.lightning_module, self.settings["select"])

    def with_truth(self, rows: Sequence[Row], split: str) -> list[Row]:
        """Rows with the people's captions as they were written, `references`; [] for an image without any."""
        if not self.splits[split].annotated:
            return list(rows)
        said = self.references(split, raw=True)
        return [{**row, "references": said.get(row["id"], [])} for row in rows]

    def write_submission(self, path: Path, split: str, rows: Sequence[Row]) -> Path:
        """The evaluation server's file, checked against the images of the split."""
        from limner.submit_captions import check_caption_submission, write_caption_submission

        write_caption_submission(path, rows)
        check_caption_submission(path, self.splits[split].image_id.tolist(), f"the split {split}")
        return path

    # --- packages ---

    def vocab(self) -> dict[str, list[str]]:
        """What a model package keeps as vocab.json."""
        return {"words": list(self.words.words)}

    def features_rule(self) -> dict[str, Any]:
        """As in `RegionData`, with `global`: the size and the extractor of the given vectors, where there are any."""
        rule = super().features_rule() or {}
        if self.vectors is not None:
            rule["global"] = {"dim": self.vectors.dim, "extractor": self.vectors.extractor}
        return rule

    def expect(self, trained: package.Package) -> None:
        """Refuses to evaluate a model on other features, or other given vectors, than it was trained on."""
        super().expect(trained)
        mine, its = self.features_rule().get("global"), (trained.meta.get("features") or {}).get("global")
        if mine and its and its["extractor"] == "unknown":  # imported: any of its size fits
            its = {**its, "extractor": mine["extractor"]}
        if mine != its:
            raise UserError(f"data.global_features: {mine or 'none'}, but the model was trained with {its or 'none'}")
