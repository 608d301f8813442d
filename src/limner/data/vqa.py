"""VQA as a LightningDataModule: official files and a feature store in, batches, references and packages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limner import submit
from limner.data import question_words, vqa_files
from limner.data.answers import AnswerVocabulary
from limner.data.loader import BatchLoader
from limner.data.order import BatchOrder
from limner.data.region_batches import RegionData, files_of
from limner.data.text import Vocabulary
from limner.data.vectors import initialise
from limner.data.visual_genome import load_visual_genome
from limner.data.vqa_items import VQAItems
from limner.errors import UserError, listing
from limner.metrics import vqa as metric
from limner.metrics.rows import Row
from limner.weights.manifest import read_json


class VQAData(RegionData):
    """Questions, answers and regions of a VQA data set. `limner.schema.vqa.VQAData` explains each argument.

    Args:
        vocabulary: `words` and `answers` of a trained model; None builds them from the data.
        settings: the keys of the config group `data`.
    """

    def __init__(self, *, vocabulary: Mapping[str, Sequence[str]] | None = None, **settings: Any):
        super().__init__(settings)
        self.given = vocabulary
        self.splits: dict[str, vqa_files.VQASplit] = {}
        self.items: dict[str, VQAItems] = {}

    # --- reading ---

    def prepare(self) -> None:
        """Reads the splits in use, builds or takes the vocabularies, checks that every image has features."""
        chosen = self.settings
        used = [*chosen["fit"], chosen["select"], *([chosen["test"]] if chosen["test"] else [])]
        named = dict.fromkeys([*chosen["words_from"], *chosen["answers_from"], *used])
        self.splits = {name: self.read_split(name) for name in named}
        if self.given is not None:
            self.words = Vocabulary(self.given["words"])
            self.answers = AnswerVocabulary(self.given["answers"])
        else:
            read = [self.splits[name].questions for name in chosen["words_from"]]
            self.words = question_words.vocabulary(read, cache=chosen["cache"])
            self.answers = self.read_answers()
        training = self.training_split()
        if training is not None:
            self.items["fit"] = self.encode(training)
            self.check_learnable(self.items["fit"])
        for name in dict.fromkeys(used[len(chosen["fit"]) :]):
            self.items[name] = self.encode(self.splits[name])

    def read_split(self, name: str) -> vqa_files.VQASplit:
        """One split of the data set, several files as one, cut to `limit` questions."""
        questions, annotations = (files_of(self.settings[key], name) for key in ("questions", "annotations"))
        if not questions:
            there = ", ".join(sorted(self.settings["questions"])) or "none"
            raise UserError(f"data.questions has no split '{name}'; it has {there}")
        if not annotations:
            annotations = [None] * len(questions)
        if len(annotations) != len(questions):
            raise UserError(
                f"data.annotations.{name}: {len(annotations)} files for {len(questions)} question files: "
                "expected one for each, in the same order"
            )
        cache = self.settings["cache"]
        parts = [vqa_files.load_split(q, a, cache=cache) for q, a in zip(questions, annotations)]
        split = parts[0] if len(parts) == 1 else vqa_files.join(parts)
        limit = self.settings["limit"]
        return split if limit is None else split.take(np.arange(min(limit, len(split))))

    def read_answers(self) -> AnswerVocabulary:
        """The answer vocabulary: the given list, or the counted one."""
        path = self.settings["answers_file"]
        if path is not None:
            listed = read_json(Path(path))
            try:
                return AnswerVocabulary.from_json(listed)
            except UserError as error:
                raise UserError(f"data.answers_file: {path}: {error}") from None
        counted = [self.splits[name] for name in self.settings["answers_from"]]
        least = 1 if self.settings["limit"] else self.settings["min_answer_count"]
        return AnswerVocabulary.build(counted, min_count=least)

    def training_split(self) -> vqa_files.VQASplit | None:
        """All questions to train on: the `fit` splits, then Visual Genome's."""
        parts = [self.splits[name] for name in self.settings["fit"]]
        if not parts:
            return None
        for name, part in zip(self.settings["fit"], parts):
            if not part.annotated:
                raise UserError(f"data.annotations has no split '{name}', but data.fit trains on it: give its file")
        if self.settings["visual_genome"]:
            coco = self.settings["visual_genome_images"]  # without it ids stay Visual Genome's own
            images = np.unique(np.concatenate([part.image_id for part in parts])) if coco else None
            pairs = self.settings["visual_genome"]
            parts.append(load_visual_genome(pairs, self.answers, image_data=coco, images=images))
        return parts[0] if len(parts) == 1 else vqa_files.join(parts)

    def encode(self, split: vqa_files.VQASplit) -> VQAItems:
        """A split as numbers; an image without features is an error that lists the first few."""
        if self.store is not None:
            self.store.positions(split.image_id)
        chosen = self.settings
        return VQAItems(
            split,
            self.words,
            self.answers,
            question_length=chosen["question_length"],
            unknown=chosen["unknown_words"],
            normalize=chosen["normalize_answers"],
            cache=chosen["cache"],
        )

    def check_learnable(self, items: VQAItems) -> None:
        """Refuses answers of another data set: every target would be zero."""
        assert items.targets is not None
        if not len(items.targets.labels):
            few = listing(map(repr, self.answers.answers), show=3)
            raise UserError(
                f"data: none of {len(items):,} training questions has an answer among the {len(self.answers):,} of the "
                f"vocabulary ({few}): give the answers_file of this data set, or null to count them"
            )

    # --- what the model and the task need ---

    def sizes(self) -> dict[str, int]:
        """Constructor arguments of the model that the data decide."""
        return {
            "words": len(self.words),
            "answers": len(self.answers),
            "feature_dim": self.store.dim if self.store is not None else 0,
            "question_length": self.settings["question_length"],
        }

    def task_arguments(self) -> dict[str, Any]:
        return {"answers": self.answers.texts}

    def initialise(self, model: Any) -> None:
        """Puts GloVe vectors into word and answer rows, and image vectors into answer rows, where they are given."""
        vectors = {name: self.settings[name] for name in ("glove", "answer_images")}
        initialise(model, self.words.words, self.answers.answers, **vectors)

    def summary(self) -> str:
        """One line: questions, images, words, answers, and the score a perfect model of these answers reaches."""
        fit = self.items["fit"]
        reachable = 100 * fit.targets.reachable() if fit.targets is not None else 0.0
        regions = f"{len(self.store):,} images x {self.store.dim} features" if self.store is not None else "no images"
        return (
            f"data: {len(fit):,} questions to train on, {len(self.words):,} words, {len(self.answers):,} answers "
            f"(reachable {reachable:.2f} %), {regions}"
        )

    def fingerprint(self) -> dict[str, str]:
        """What must not change under a resumed run."""
        import xxhash

        questions = xxhash.xxh3_64()
        for items in self.items.values():
            parts = [items.split.question_id, items.split.image_id, items.tokens, items.offsets]
            for part in [*parts, *(items.targets or ())]:
                questions.update(np.ascontiguousarray(part).view(np.uint8).data)
        return {
            "questions": questions.hexdigest(),
            "words": xxhash.xxh3_64_hexdigest("\n".join(self.words.words).encode()),
            "answers": xxhash.xxh3_64_hexdigest("\n".join(self.answers.answers).encode()),
            **super().fingerprint(),
        }

    # --- batches ---

    def train_dataloader(self) -> BatchLoader:
        return self.make_loader(self.items["fit"], self.settings["batch_size"], training=True)

    def val_dataloader(self) -> BatchLoader:
        return self.make_loader(self.items[self.settings["select"]], self.settings["eval_batch_size"], training=False)

    def loader(self, split: str) -> BatchLoader:
        """Batches of a split in a fixed order, the questions of an image together.

        They are complete, also with `resident`: who draws them may not call `on_after_batch_transfer` (Lightning does
        so only when it is given this module, not the loader alone).
        """
        items, size = self.items[split], self.settings["eval_batch_size"]
        return self.make_loader(items, size, training=False, resident=False)

    def make_loader(
        self, items: VQAItems, batch_size: int, *, training: bool, resident: bool | None = None
    ) -> BatchLoader:
        """The loader of some items. `resident`: row numbers instead of regions; default: as the setting says."""
        rank, world = self.share()
        order = BatchOrder(
            len(items),
            batch_size,
            seed=self.settings["seed"],
            shuffle=training,
            groups=items.split.image_id,
            by_group=self.settings["group_by_image"] or not training,
            rank=rank,
            world=world,
        )
        return self.region_loader(order, items.batch, lambda indices: items.split.image_id[indices], resident=resident)

    # --- evaluation ---

    def use(self, task: Any, split: str) -> None:
        """Tells the task what people answered on a split."""
        chosen = self.items[split].split
        task.references = chosen
        ids, images = chosen.question_id.tolist(), chosen.image_id.tolist()
        task.questions = dict(zip(ids, zip(images, chosen.questions))) if task.detailed else {}

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer is not None:
            self.use(self.trainer.lightning_module, self.settings["select"])

    def with_truth(self, rows: Sequence[Row], split: str) -> list[Row]:
        """Rows with the question, people's answers and the official accuracy of each, for reports."""
        chosen = self.items[split].split
        if not chosen.annotated:
            return list(rows)
        scores = metric.per_question(rows, chosen, subset=[row["id"] for row in rows])
        place = {item: k for k, item in enumerate(chosen.question_id.tolist())}
        out = []
        answers, answer_type, question_type = chosen.answers, chosen.answer_type, chosen.question_type
        assert answers is not None
        assert answer_type is not None
        assert question_type is not None
        for row in rows:
            k = place[row["id"]]
            people = [chosen.strings[a] for a in answers[k].tolist() if a >= 0]
            kinds = {
                "answer_type": chosen.answer_types[answer_type[k]],
                "question_type": chosen.question_types[question_type[k]],
            }
            asked = {"image_id": int(chosen.image_id[k]), "question": chosen.questions[k]}
            out.append({**row, **asked, "answers": people, "accuracy": round(scores[row["id"]], 2), **kinds})
        return out

    def write_submission(self, path: Path, split: str, rows: Sequence[Row]) -> Path:
        """The evaluation server's file, checked against the questions of the split."""
        submit.write_vqa_submission(path, rows)
        submit.check_vqa_submission(path, *files_of(self.settings["questions"], split))
        return path

    # --- packages ---

    def vocab(self) -> dict[str, list[str]]:
        """What a model package keeps as vocab.json."""
        return {"words": list(self.words.words), "answers": list(self.answers.answers)}
