"""Visual dialog as a LightningDataModule: dialog files and a feature store in; batches, metrics and packages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.dialog_batches import DialogBatches
from limner.data.dialog_encoding import DialogEncoder
from limner.data.dialog_order import DialogOrder
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder
from limner.data.region_batches import files_of
from limner.data.vilbert_data import ViLBERTData
from limner.data.visdial_files import load_split
from limner.data.visdial_split import VisDialSplit, join
from limner.errors import UserError, listing
from limner.metrics.rows import Row
from limner.metrics.visdial import DialogMetrics, ndcg

MOST_ROUNDS = 99  # the id of a row is 100 times its image and its round


class VisDialData(ViLBERTData):
    """Dialogs about images and their regions. `limner.schema.visdial_data.VisDialData` explains each argument.

    `DialogBatches` says what a batch holds. Items of a training batch are dialogs, or judged rounds when the task
    compares options; those of an evaluation batch are dialogs.

    Args:
        vocabulary: `{"words": [...]}` of a trained model; or a vocab.txt or a name on the hub; None: learned from
            `words_from`.
        settings: the other keys of the config group `data`.
    """

    def __init__(self, *, vocabulary: Mapping[str, Sequence[str]] | str | None = None, **settings: Any):
        super().__init__(vocabulary=vocabulary, **settings)
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
        self.words = self.take_words(self.texts)
        for name in used:
            self.check_images(self.splits[name].image_id)
        if chosen["fit"]:
            if not self.splits[chosen["select"]].annotated:
                raise UserError(
                    f"data.select={chosen['select']}: its file hides answers (a test split), but it picks the best "
                    "epoch: take a split with answers"
                )
            self.fit = self.encode(join([self.splits[name] for name in chosen["fit"]]))
        if chosen["ranked"] == "judged":  # after `fit`, which learns from all rounds
            self.splits = {name: split.judged_only() for name, split in self.splits.items()}

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

    def texts(self) -> list[str]:
        """What word parts are learned from, without a vocabulary."""
        splits = [self.splits[name] for name in self.settings["words_from"]]
        return [text for split in splits for pool in (split.captions, split.questions, split.answers) for text in pool]

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

    def task_arguments(self) -> dict[str, Any]:
        """`text`: how dialogs become tokens, which a package must say."""
        return {"text": {key: self.settings[key] for key in ("lowercase", "max_length", "history")}}

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
        sizes, counts = self.known(encoder.split.image_id)
        return DialogBatches(encoder, self.settings, sizes=sizes, counts=counts)

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
        """Rows with what is known of their round.

        Always `image_caption`, `dialog` (questions and answers before), `question`, `best` (the ten best options with
        their scores). Where the answer is known: `given`, its place `gt_index` and its `rank`. Of judged rounds
        `relevance` of each option, and `ndcg` in percent where one is relevant. The texts of the other options stand
        in the dialog file: with them all, the rows of VisDial's val would be twice as large, 31 MB packed.
        """
        chosen = self.splits[split]
        place = {image: dialog for dialog, image in enumerate(chosen.image_id.tolist())}
        judged = {number: k for k, number in enumerate(chosen.dense.tolist())}
        talks: dict[int, list[list[str]]] = {}  # each dialog in words
        found = []
        for row in rows:
            dialog = place[row["image_id"]]
            first, last = chosen.first[dialog : dialog + 2].tolist()
            if dialog not in talks:
                talks[dialog] = [list(chosen.said(number)) for number in range(first, last)]
            number = first + row["round_id"] - 1 - int(chosen.shift[dialog])
            options, rank = chosen.options_of(number), np.array(row["ranks"])
            best = np.argsort(rank)[:10].tolist()
            more: Row = {
                "image_caption": chosen.captions[dialog],
                "dialog": talks[dialog][: number - first],
                "question": talks[dialog][number - first][0],
                "best": [[chosen.answers[options[option]], row["scores"][option]] for option in best],
            }
            truth = int(chosen.gt_index[number])
            if truth >= 0:
                given = chosen.answers[options[truth]]
                more |= {"given": given, "gt_index": truth, "rank": row["ranks"][truth]}
            if number in judged:
                start, stop = chosen.dense_first[judged[number] :][:2]
                shares = chosen.relevance[start:stop]
                more["relevance"] = [round(share, 4) for share in shares.tolist()]
                if shares.any():
                    more["ndcg"] = round(100 * float(ndcg(rank, shares)), 4)
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
        """What a model package keeps as vocab.json: word parts, and the most frequent answers of what is trained on."""
        found = {"words": list(self.words.words)}
        if self.fit is not None:
            found["frequent_answers"] = self.fit.split.frequent_answers(self.settings["frequent_answers"])
        return found
