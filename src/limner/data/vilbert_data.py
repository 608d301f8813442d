"""What every data module of ViLBERT shares: word parts, images of known size, what masked regions are predicted as."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from limner.data.loader import BatchLoader
from limner.data.region_batches import RegionData
from limner.data.wordpiece import WordPiece
from limner.errors import UserError, listing
from limner.weights import package


class ViLBERTData(RegionData):
    """A data module whose texts are word parts and whose regions may be masked.

    Masked regions are predicted as what the detector said of them (`class_probs` of the store), as published; where the
    store keeps none, as their features, the published variant `predict_feature`.

    Args:
        vocabulary: `{"words": [...]}` of a trained model; a vocab.txt or a name on the hub; None: learned from texts.
        settings: the keys of the config group `data`.
    """

    def __init__(self, *, vocabulary: Mapping[str, Sequence[str]] | str | None = None, **settings: Any):
        super().__init__(settings)
        self.vocabulary = vocabulary
        self.words: WordPiece

    # --- what a data set defines ---

    @property
    @abstractmethod
    def hashes(self) -> dict[str, str]:
        """A hash of what is trained on and evaluated by, and of the words."""

    @abstractmethod
    def evaluation_loader(self, name: str, *, resident: bool | None) -> BatchLoader:
        """The items of a split. `resident`: row numbers instead of regions; None: as the setting says."""

    # --- words ---

    def take_words(self, texts: Callable[[], Iterable[str]]) -> WordPiece:
        """The word parts of the trained model, those of the vocabulary, or new ones learned from `texts()`."""
        lowercase = self.settings["lowercase"]
        if isinstance(self.vocabulary, str):
            return WordPiece.load(self.vocabulary, lowercase=lowercase)
        if self.vocabulary is not None:
            return WordPiece(self.vocabulary["words"], lowercase=lowercase, source="the model's words")
        return WordPiece.train(texts(), size=self.settings["vocabulary_size"], lowercase=lowercase)

    def vocab(self) -> dict[str, list[str]]:
        """What a model package keeps as vocab.json."""
        return {"words": list(self.words.words)}

    # --- images ---

    def check_images(self, ids: np.ndarray) -> None:
        """Every image has regions and a known size; else an error that lists the first few."""
        if self.store is None:
            return
        unknown = np.flatnonzero((self.image_sizes(ids) <= 0).any(1))
        if len(unknown):
            few = listing(np.unique(ids[unknown])[:5].tolist(), len(np.unique(ids[unknown])))
            raise UserError(
                f"{self.store.path}: does not know the width and height of images {few}; boxes are shares of them: "
                "convert or extract the features with the images' sizes"
            )

    def image_sizes(self, ids: np.ndarray) -> np.ndarray:
        """Width and height of images (I, 2) float32; 0 where the store does not know."""
        assert self.store is not None
        return self.store.sizes(self.store.positions(ids))

    def known(self, ids: np.ndarray) -> tuple[np.ndarray | None, Callable[[np.ndarray], np.ndarray] | None]:
        """Sizes (I, 2) of images, and what tells how many regions images have by their ids; None without regions."""
        store = self.store
        if store is None:
            return None, None
        return self.image_sizes(ids), lambda images: store.counts(store.positions(images))

    # --- masked regions ---

    @property
    def masks_regions(self) -> bool:
        """Regions are predicted in training."""
        return self.store is not None and self.settings["mask_regions"] > 0

    @property
    def predicts_classes(self) -> bool:
        """They are predicted as classes, else as features.

        Raises:
            UserError: classes are wanted, but the features come without.
        """
        chosen, store = self.settings["region_targets"], self.store
        if store is None or not self.masks_regions or chosen == "features":
            return False
        if chosen == "classes" and not store.classes:
            raise UserError(
                f"{store.path}: keeps no class_probs of its regions, but data.region_targets=classes: extract them with"
                " their classes, or set it to features"
            )
        return store.classes > 0

    def sizes(self) -> dict[str, int]:
        """Constructor arguments of the model that the data decide; where no region is predicted, the model's own head
        stays."""
        found = {"words": len(self.words)}
        if self.store is not None:
            found["feature_dim"] = self.store.dim
        if self.store is not None and self.masks_regions:
            found["region_classes"] = self.store.classes if self.predicts_classes else self.store.dim
        return found

    def region_loader(
        self,
        order: Any,
        make: Callable[[np.ndarray], dict[str, Any]],
        images: Callable[[np.ndarray], np.ndarray],
        *,
        resident: bool | None = None,
    ) -> BatchLoader:
        """As in `RegionData`. Where classes are predicted, batches also have `region_targets (P, C)` float16: the class
        probabilities of the P regions of `regions_at`, in reading order. Only these are read."""

        def made(indices: np.ndarray) -> dict[str, Any]:
            batch = make(indices)
            if "regions_at" in batch:
                batch["region_targets"] = torch.from_numpy(self.class_targets(images(indices), batch["regions_at"]))
            return batch

        return super().region_loader(order, made if self.predicts_classes else make, images, resident=resident)

    def class_targets(self, images: np.ndarray, regions_at: torch.Tensor) -> np.ndarray:
        """Class probabilities (P, C) of the regions (I, 1 + R) of some images; the whole image, place 0, is background:
        class 0, as published."""
        assert self.store is not None
        which, region = regions_at.numpy().nonzero()
        whole = region == 0
        found = self.store.class_probs(self.store.positions(images)[which], np.where(whole, 0, region - 1))
        found[whole] = np.arange(self.store.classes) == 0
        return found

    # --- what must stay alike ---

    def fingerprint(self) -> dict[str, str]:
        kind = {"region_targets": f"{self.sizes()['region_classes']} classes"} if self.predicts_classes else {}
        return {**self.hashes, **super().fingerprint(), **kind}

    def initialise(self, model: Any) -> None:
        """Nothing: word vectors begin as the model draws them."""

    def val_dataloader(self) -> BatchLoader:
        return self.evaluation_loader(self.settings["select"], resident=None)

    def expect(self, trained: package.Package) -> None:
        """Refuses a model that was trained on other features, or whose words are written in another case."""
        super().expect(trained)
        before, now = (trained.meta.get("text") or {}).get("lowercase"), self.settings["lowercase"]
        if before not in (None, now):
            raise UserError(f"data.lowercase={now}, but the model was trained with {before}: set it alike")
