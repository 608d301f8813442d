"""Visual dialog as a LightningDataModule: dialog files and a feature store in; batches, metrics and packages out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.dialog_batches import DialogBatches
from limner.data.dialog_encoding import DialogEncoder
from limner.data.dialog_order import DialogOrder
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder
from limner.data.region_batches import RegionData, files_of
from limner.data.visdial_files import load_split
from limner.data.visdial_split import VisDialSplit, join
from limner.data.wordpiece import WordPiece
from limner.errors import UserError, listing
from limner.metrics.rows import Row
from limner.metrics.visdial import DialogMetrics
from limner.weights import package

MOST_ROUNDS = 99  # the id of a row is 100 times its image and its round


class VisDialData(RegionData):
    """Dialogs about images and their regions. `limner.schema.visdial_data.VisDialData` explains each argument.

    `DialogBatches` says what a batch holds. Items of a training batch are dialogs, or judged rounds when the task
    compares options; those of an evaluation batch are dialogs.

    Args:
        vocabulary: `{"words": [...]}` of a trained model; or a vocab.txt or a name on the hub; None: learned from
            `words_from`.
        settings: the other keys of the config group `data`.
    """

    def __init__(self, *, vocabulary: Mapping[str, Sequence[str]] | str | None = None, **settings: Any):
        super().__init__(settings)
        self.vocabulary = vocabulary
        self.splits: dict[str, VisDialSplit] = {}
        self.fit: DialogEncoder | None = None
        self._encoders: dict[str, DialogEncoder] = {}

    # --- reading ---

    def prepare(self) -> None:
        """Reads the splits in use, takes or learns the word parts, checks that every image has what it needs."""
        chosen = self.settings
        used = dict.fromkeys([*chosen["fit"], chosen["select"], *([chosen["test"]] if chosen["test"] else [])])
        read = dict.fromkeys([*used, *(chosen["words_from"] if self.vocabulary is None else [])])
        self.splits = {name: self.read_split(name) for name in read}
        self.words = self.take_words()
        for name in used:
            self.check_regions(name)
        if chosen["fit"]:
            if not self.splits[chosen["select"]].annotated:
                raise UserError(
                    f"data.select={chosen['select']}: its file hides answers (a test split), but it picks the best "
                    "epoch: take a split with answers"
                )
            self.fit = self.encode(join([self.splits[name] for name in chosen["fit"]]))

    def read_split(self, name: str) -> VisDialSplit:
        """One split of the data set, several files as one, cut to `limit` dialogs."""
        chosen = self.settings
        paths, dense = files_of(chosen["dialogs"], name), files_of(chosen["dense"], name)
        if not paths:
            there = listing(sorted(chosen["dialogs"])) or "none"
            raise UserError(f"data.dialogs has no split '{name}'; it has {there}")
        if len(dense) not in (0, len(paths)):
            raise UserError(f"data.dense.{name}: {len(dense)} files for {len(paths)} files of dialogs; give one each")
        judged = dense or [None] * len(paths)
        split = join([load_split(path, of, cache=chosen["cache"]) for path, of in zip(paths, judged)])
        if int(split.round_id.max(initial=0)) > MOST_ROUNDS:
            raise UserError(f"data.dialogs.{name}: a dialog has {split.round_id.max()} rounds, expected {MOST_ROUNDS}")
        limit = chosen["limit"]
        return split if limit is None else split.take(np.arange(min(limit, len(split))))

    def take_words(self) -> WordPiece:
        """The word parts of the trained model, those of the vocabulary, or new ones learned from the splits' texts."""
        chosen = self.settings
        lowercase = chosen["lowercase"]
        if isinstance(self.vocabulary, str):
            return WordPiece.load(self.vocabulary, lowercase=lowercase)
        if self.vocabulary is not None:
            return WordPiece(self.vocabulary["words"], lowercase=lowercase, source="the model's words")
        splits = [self.splits[name] for name in chosen["words_from"]]
        texts = [text for split in splits for pool in (split.captions, split.questions, split.answers) for text in pool]
        return WordPiece.train(texts, size=chosen["vocabulary_size"], lowercase=lowercase)

    def check_regions(self, name: str) -> None:
        """Every image has regions and a known size; else an error that lists the first few."""
        if self.store is None:
            return
        ids = self.splits[name].image_id
        sizes = image_sizes(self.store, ids)
        unknown = np.flatnonzero((sizes <= 0).any(1))
        if len(unknown):
            few = listing(ids[unknown[:5]].tolist(), len(unknown))
            raise UserError(
                f"{self.store.path}: does not know the width and height of images {few}; boxes are shares of them: "
                "convert or extract the features with the images' sizes"
            )

    def encode(self, split: VisDialSplit) -> DialogEncoder:
        """The encoder of a split, with the settings' lengths."""
        chosen = self.settings
        how = {key: chosen[key] for key in ("max_length", "history", "cache")}
        return DialogEncoder(split, self.words, **how)

    def encoder(self, name: str) -> DialogEncoder:
        """The encoder of a split by its name; made once."""
        if name not in self._encoders:
            self._encoders[name] = self.encode(self.splits[name])
        return self._encoders[name]

    # --- what the model and the task need ---

    @property
    def masks_regions(self) -> bool:
        """Regions are predicted in training."""
        return self.store is not None and self.settings["mask_regions"] > 0

    def sizes(self) -> dict[str, int]:
        """Constructor arguments of the model that the data decide.

        A store keeps no class probabilities: where regions are predicted, their features are (as published for
        `predict_feature`), and the head has as many outputs. Where they are not, it stays as the model has it.
        """
        found = {"words": len(self.words)}
        if self.store is not None:
            found["feature_dim"] = self.store.dim
        if self.store is not None and self.masks_regions:
            found["region_classes"] = self.store.dim
        return found

    def task_arguments(self) -> dict[str, Any]:
        """`text`: how dialogs become tokens, which a package must say."""
        return {"text": {key: self.settings[key] for key in ("lowercase", "max_length", "history")}}

    def initialise(self, model: Any) -> None:
        """Nothing: word vectors begin as the model draws them."""

    def summary(self) -> str:
        """One line: dialogs, rounds, how long they are, words."""
        encoder = self.fit
        assert encoder is not None
        split = encoder.split
        contexts = encoder.answer_contexts
        tokens = (contexts.head + contexts.tail).mean()
        dropped = 100 * float((contexts.dropped > 0).mean())
        regions = f"{len(self.store):,} images x {self.store.dim} features" if self.store is not None else "no regions"
        return (
            f"data: {len(split):,} dialogs of {split.rounds:,} rounds to learn, {len(split.dense):,} of them judged; "
            f"{tokens:.0f} tokens before an answer ({dropped:.2f} % without their oldest rounds), "
            f"{len(self.words):,} word parts, {regions}"
        )

    def fingerprint(self) -> dict[str, str]:
        return {**self.hashes, **super().fingerprint()}

    @cached_property
    def hashes(self) -> dict[str, str]:
        """A hash of what is trained on and evaluated by, and of the words."""
        import xxhash

        digest = xxhash.xxh3_64()
        splits = [] if self.fit is None else [self.fit.split]
        names = dict.fromkeys(self.settings[name] for name in ("select", "test") if self.settings[name])
        for split in [*splits, *(self.splits[name] for name in names)]:
            for array in split.arrays().values():
                digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.ndim else array.tobytes())
        return {"dialogs": digest.hexdigest(), "words": self.words.fingerprint}

    # --- batches ---

    def train_dataloader(self) -> BatchLoader:
        """Sequences of dialogs, or options of judged rounds when the task compares these."""
        task = self.trainer.lightning_module if self.trainer is not None else None
        return self.training_loader(dense=bool(getattr(task, "compares", False)))

    def training_loader(self, *, dense: bool) -> BatchLoader:
        """The training batches. `dense`: items are the judged rounds, with their options and relevances.

        Raises:
            UserError: `dense`, and no round is judged.
        """
        encoder, chosen = self.fit, self.settings
        assert encoder is not None
        split, batches = encoder.split, self.batches(encoder)
        if dense and not len(split.dense):
            fit = listing(chosen["fit"])
            raise UserError(f"data.dense has no judged rounds of data.fit=[{fit}]: give their dense annotations")
        rank, world = self.share()
        size, count, make = batches.training(dense=dense)
        order = DialogOrder(size, count, seed=chosen["seed"], rank=rank, world=world)
        dialogs = split.dialog[split.dense] if dense else np.arange(len(split))
        return self.region_loader(
            order,
            lambda numbers: make(*order.items(numbers)),
            lambda numbers: split.image_id[dialogs[order.items(numbers)[1]]],
        )

    def batches(self, encoder: DialogEncoder) -> DialogBatches:
        """What makes the batches of a split."""
        store = self.store
        sizes = None if store is None else image_sizes(store, encoder.split.image_id)
        counts: Callable[[np.ndarray], np.ndarray] | None = None
        if store is not None:
            counts = lambda images: store.counts(store.positions(images))  # noqa: E731
        return DialogBatches(encoder, self.settings, sizes=sizes, counts=counts)

    def val_dataloader(self) -> BatchLoader:
        return self.evaluation_loader(self.settings["select"], resident=None)

    def loader(self, split: str) -> BatchLoader:
        """The dialogs of a split in the order of the file, with all options of the rounds that are ranked.

        Batches are complete, also with `resident`, see `limner.data.captions.CaptionData.loader`.
        """
        return self.evaluation_loader(split, resident=False)

    def evaluation_loader(self, name: str, *, resident: bool | None) -> BatchLoader:
        """Dialogs in order. `resident`: row numbers instead of regions; None: as the setting says."""
        encoder, size = self.encoder(name), self.settings["eval_batch_size"]
        rank, world = self.share()
        order = BatchOrder(len(encoder.split), size, seed=0, shuffle=False, rank=rank, world=world)
        make, ids = self.batches(encoder).evaluation, encoder.split.image_id
        return self.region_loader(order, make, lambda dialogs: ids[dialogs], resident=resident)

    # --- evaluation ---

    def use(self, task: Any, split: str) -> None:
        """Tells the task the answers and relevances of a split; None where the file hides the answers."""
        chosen = self.splits[split]
        task.references = DialogMetrics(chosen) if chosen.annotated else None

    def setup(self, stage: str) -> None:
        if stage != "fit" or self.trainer is None:
            return
        task, select = self.trainer.lightning_module, self.settings["select"]
        if getattr(task, "main", None) == "ndcg" and not len(self.splits[select].dense):
            raise UserError(
                f"task.main=ndcg, but data.dense.{select} judges no round, so it cannot pick the best epoch: "
                "give its dense annotations, or task.main=mrr"
            )
        self.use(task, select)

    def with_truth(self, rows: Sequence[Row], split: str) -> list[Row]:
        """Rows with their question and options as texts and, where they are known, the answer's place (`gt_index`) and
        the options' relevance."""
        chosen = self.splits[split]
        place = {image: dialog for dialog, image in enumerate(chosen.image_id.tolist())}
        judged = {number: k for k, number in enumerate(chosen.dense.tolist())}
        found = []
        for row in rows:
            dialog = place[row["image_id"]]
            number = int(chosen.first[dialog]) + row["round_id"] - 1 - int(chosen.shift[dialog])
            more: Row = {
                "question": chosen.questions[chosen.question[number]],
                "options": [chosen.answers[option] for option in chosen.options_of(number).tolist()],
            }
            if chosen.gt_index[number] >= 0:
                more["gt_index"] = int(chosen.gt_index[number])
            if number in judged:
                start, stop = chosen.dense_first[judged[number] :][:2]
                more["relevance"] = [round(share, 4) for share in chosen.relevance[start:stop].tolist()]
            found.append({**row, **more})
        return found

    def write_submission(self, path: Path, split: str, rows: Sequence[Row]) -> Path:
        """EvalAI's ranks file, checked against the rounds that the split asks for."""
        from limner.submit_visdial import check_visdial_submission, write_visdial_submission

        write_visdial_submission(path, rows)
        check_visdial_submission(path, self.splits[split], f"the split {split}")
        return path

    # --- packages ---

    def vocab(self) -> dict[str, list[str]]:
        """What a model package keeps as vocab.json."""
        return {"words": list(self.words.words)}

    def expect(self, trained: package.Package) -> None:
        """Refuses a model that was trained on other features, or whose words are written in another case."""
        super().expect(trained)
        its, mine = (trained.meta.get("text") or {}).get("lowercase"), self.settings["lowercase"]
        if its not in (None, mine):
            raise UserError(f"data.lowercase={mine}, but the model was trained with {its}: set it alike")


def image_sizes(store: Any, images: np.ndarray) -> np.ndarray:
    """Width and height of images (I, 2) float32; 0 where the store does not know."""
    return np.array([store.size(place) for place in store.positions(images).tolist()], np.float32).reshape(-1, 2)
