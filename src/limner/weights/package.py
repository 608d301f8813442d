"""A model package: a trained model as a folder that loads anywhere, without Hydra, Lightning or pickle.

model.safetensors   the weights
model.json          sizes, text and feature rules, training config, metrics, licence of the data; see `manifest`
vocab.json          words and answers; of a dialog model its word parts and the most frequent training answers
README.md           the model card
"""

from __future__ import annotations

import importlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from limner.errors import UserError, listing
from limner.files import whole, write_json, write_whole
from limner.weights.card import model_card
from limner.weights.manifest import (
    CARD,
    DESCRIPTION,
    FORMAT,
    UNKNOWN,
    VOCAB,
    WEIGHTS,
    check_hashes,
    hashes,
    read_manifest,
    read_vocab,
)


@dataclass
class Package:
    """A model with all that is needed to use it.

    model: the network. sizes: `_target_` and the constructor's arguments. vocab: `words`, `answers`.
    meta: what else model.json says: task, text, features, config, metrics, licence.
    """

    model: nn.Module
    sizes: dict[str, Any]
    vocab: dict[str, list[str]]
    meta: dict[str, Any] = field(default_factory=dict)


def save(folder: Path, package: Package) -> Path:
    """Writes a package as a whole: into a folder beside it that then takes its name."""
    part, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in package.model.state_dict().items()}
        with whole(part / WEIGHTS, sync=True) as path:
            save_file(weights, path)
        write_json(part / VOCAB, package.vocab)
        shutil.copymode(part / VOCAB, part / WEIGHTS)  # safetensors lets only the owner read it
        parameters = sum(p.numel() for p in package.model.parameters())
        write_whole(part / CARD, model_card(package.sizes, package.vocab, package.meta, parameters))
        known = {"licence": UNKNOWN, **package.meta}
        write_json(part / DESCRIPTION, {"format": FORMAT, "xxh3": hashes(part), "model": package.sizes, **known})
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    except (OSError, SafetensorError, UserError) as error:
        if old.exists():
            old.rename(folder)
        raise UserError(f"{folder}: the model package could not be written ({error}); free space, try again") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read(folder: str | Path, *, allow: tuple[str, ...] = ("limner.models.",)) -> Package:
    """Reads a package folder.

    Args:
        folder: the package.
        allow: prefixes of `_target_` that may be imported; name your own package to load your own models.

    Raises:
        UserError: a file is missing or damaged, the format is newer, or weights and sizes do not fit together.
    """
    folder = Path(folder)
    described = read_manifest(folder)
    sizes, vocab = dict(described["model"]), read_vocab(folder)
    model = build_model(sizes, allow, folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder}/model.safetensors: cannot be read ({error}); copy the package again") from None
    mine = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if mine != theirs:
        wrong = sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k))
        shown = [f"{k} {theirs.get(k, 'missing')} for {mine.get(k, 'nothing')}" for k in wrong]
        raise UserError(f"{folder}: the weights do not fit the sizes in model.json: {listing(shown)}")
    if len(vocab.get("answers", [])) not in (0, sizes.get("answers", 0)):
        found, expected = len(vocab["answers"]), sizes["answers"]
        raise UserError(
            f"{folder}/vocab.json: {found} answers, but the model has {expected}: they belong to two models"
        )
    if len(vocab.get("words", [])) not in (0, sizes.get("words", 0)):
        found, expected = len(vocab["words"]), sizes["words"]
        raise UserError(f"{folder}/vocab.json: {found} words, but the model has {expected}: they belong to two models")
    check_hashes(folder, described)
    model.load_state_dict(weights)
    meta = {name: value for name, value in described.items() if name not in ("format", "xxh3", "model")}
    return Package(model=model.eval(), sizes=sizes, vocab=vocab, meta=meta)


def build_model(sizes: dict[str, Any], allow: tuple[str, ...], folder: object) -> nn.Module:
    """The network that `sizes` describes, with fresh weights."""
    target = str(sizes.get("_target_", ""))
    if not target.startswith(allow):
        raise UserError(
            f"{folder}/model.json: _target_ '{target}' is not one of {allow}; pass allow=('your.package.',)"
        )
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)(**{k: v for k, v in sizes.items() if k != "_target_"})
    except UserError as error:
        raise UserError(f"{folder}/model.json: {error}") from None
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(
            f"{folder}/model.json: {target} cannot be built ({error}); was it written by a newer limner?"
        ) from None


def load(folder: str | Path, *, device: str = "cpu", allow: tuple[str, ...] = ("limner.models.",)) -> Any:
    """Opens a package for prediction: three lines of Python answer a question.

    Args:
        folder: the package.
        device: cpu, cuda, cuda:1.
        allow: see `read`.

    Returns:
        `limner.inference.vqa.Answerer` for a VQA model, `limner.inference.captions.Captioner` for a captioner,
        `limner.inference.dialogs.DialogRanker` for a model of visual dialog.
    """
    from limner import inference

    package = read(folder, allow=allow)
    return inference.module_for(package.meta.get("task")).Predictor([package], device=device)
