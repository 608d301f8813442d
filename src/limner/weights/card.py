"""The model card: a package's README, from what model.json says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from limner.weights.manifest import CARD, UNKNOWN

USES = {
    "vqa": 'print(model.answer(features, "Is there a red circle?"))',
    "captioning": "print(model.caption(features).text)",
    "visdial": 'print(model.rank(features, dialog=dialog, question="Is it red?", candidates=["yes", "no"]))',
}
"""What one does with a model of each task; `features` are (regions, numbers)."""

TOLD = ("optim", "schedule", "decode", "scst")
"""Groups of the training configuration that a card shows whole."""


def model_card(
    sizes: Mapping[str, Any], vocab: Mapping[str, list[str]], meta: Mapping[str, Any], parameters: int
) -> str:
    """The package's README: what it is, what it was trained on and how, how good it is, what licence its data have.

    Args:
        sizes, vocab, meta: as in `limner.weights.package.Package`.
        parameters: numbers that were learned.
    """
    config = meta.get("config") or {}
    kind = str(sizes["_target_"]).rpartition(".")[2]
    lines = [f"# {config.get('name', meta.get('task', 'model'))}", ""]
    lines += [f"A {kind} for the task `{meta.get('task')}`, made by limner {meta.get('limner', '')}".rstrip() + ".", ""]
    lines += [f"- parameters: {parameters:,}"]
    lines += [f"- {name}: {len(words):,}" for name, words in vocab.items()]
    lines += [f"- regions: {regions(meta.get('features'))}"]
    lines += [f"- {name}: {meta[name]}" for name in ("signature", "decode") if name in meta]
    if meta.get("imported"):
        lines += [f"- imported from {meta['imported']['from']}, file `{meta['imported']['file']}`"]
    lines += [f"- licence of the training data: {licence(meta)}"]
    if meta.get("metrics"):
        lines += ["", "| metric | value |", "|---|---|"]
        lines += [f"| {name} | {value:.2f} |" for name, value in sorted(meta["metrics"].items())]
        lines += ["", f"Measured as `{meta['measured']}`."] if meta.get("measured") else []
    training = list(trained(config))
    if training:
        lines += ["", "## Training", "", *training, "", f"Every key stands in `model.json`, beside this {CARD}."]
    lines += ["", "```python", "import limner", 'model = limner.load("this/folder")']
    lines += [USES.get(str(meta.get("task")), "print(model)"), "```", ""]
    return "\n".join(lines)


def licence(meta: Mapping[str, Any]) -> str:
    """The licence of the training data in words; an unknown one says where to look."""
    said = str(meta.get("licence") or UNKNOWN)
    return f"{UNKNOWN}; see the page of the data set" if said == UNKNOWN else said


def regions(features: Mapping[str, Any] | None) -> str:
    """What features the model wants."""
    if not features:
        return "none (the text alone)"
    most = f", at most {features['max_regions']} of an image" if features.get("max_regions") else ""
    given = features.get("global")
    also = f"; and a vector of {given['dim']} for each image, extractor `{given['extractor']}`" if given else ""
    return f"{features['dim']} numbers each{most}, extractor `{features['extractor']}`{also}"


def trained(config: Mapping[str, Any]) -> Iterator[str]:
    """The training in a few lines: data, optimiser, schedule, epochs, seed; none for an import."""
    data, trainer = config.get("data") or {}, config.get("trainer") or {}
    if not trainer:
        return
    files = [f"{name} {value}" for name, value in data.items() if name in ("fit", "select", "test") and value]
    yield f"- data: {kind_of(data)}, splits {', '.join(files)}, batches of {data.get('batch_size')}"
    for group in TOLD:
        if config.get(group):
            chosen = {name: value for name, value in config[group].items() if name != "_target_"}
            yield f"- {group}: {kind_of(config[group])} {json.dumps(chosen, ensure_ascii=False)}"
    yield f"- epochs: {trainer.get('max_epochs')}, precision {trainer.get('precision')}, seed {config.get('seed')}"
    if config.get("weights"):
        yield "- started from the weights of another package"


def kind_of(node: Mapping[str, Any]) -> str:
    """The last name of a node's `_target_`."""
    return str(node.get("_target_", "unknown")).rpartition(".")[2]
