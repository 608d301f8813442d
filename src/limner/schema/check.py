"""Checks of a composed config: types and choices of every key, then what must fit together. All faults at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from limner.errors import UserError, listing
from limner.schema import TARGETED, VERBS, schema_for, target_of
from limner.schema.keys import documented
from limner.schema.sweep import sweep_faults


def check(verb: str, config: DictConfig) -> None:
    """Checks types, choices, ranges, cross-field rules and the existence of every input file.

    Raises:
        UserError: one line that lists every fault.
    """
    faults = list(typed(VERBS[verb], config, ""))
    for name, node in config.items_ex(resolve=False):
        schema = schema_for(node, str(name)) if isinstance(node, DictConfig) else None
        faults += targets(str(name), node) if schema is None else []
        if schema is not None:
            faults += typed(schema, node, f"{name}.")
    if not faults:
        faults = {"train": train_rules, "evaluate": evaluate_rules, "predict": predict_rules}[verb](config)
    if faults:
        raise UserError("; ".join(faults))


def targets(name: str, node: Any) -> list[str]:
    """A line when the class that a node names is nowhere: a mistyped `_target_`, or a package that is not installed."""
    target = str(node.get("_target_") or "") if isinstance(node, DictConfig) else ""
    if not target:
        return []
    if target.startswith(("limner.", "torch.")):
        known = listing([target_of(cls) for cls in TARGETED], show=20)
        return [] if target.startswith("torch.") else [f"{name}._target_={target}: limner has no such class; {known}"]
    if find_spec(target.partition(".")[0]) is None:
        return [
            f"{name}._target_={target}: there is no package {target.partition('.')[0]}; add its folder to PYTHONPATH"
        ]
    return []


def typed(schema: type, node: DictConfig, prefix: str) -> Iterator[str]:
    """Yields a line for every value of `node` whose type, choice or range is not what the dataclass says."""
    known = documented(schema)
    reference = OmegaConf.structured(schema)
    for name in node:
        if str(name).startswith("_"):
            continue
        if name not in known:
            yield f"{prefix}{name}: unknown key; known: {listing(sorted(known), show=12)}"
            continue
        try:
            value = node[name]
        except InterpolationResolutionError as error:
            yield f"{prefix}{name}: {str(error).splitlines()[0]}"
            continue
        except OmegaConfBaseException:  # a mandatory value that is missing (???)
            yield f"{prefix}{name}: must be given: {known[name].metadata['doc']}"
            continue
        kind = str(known[name].type).replace("common.", "")
        if isinstance(value, DictConfig) and not kind.startswith(("dict", "Any")) and dataclass_of(known[name]):
            continue  # a group of its own, checked by its own schema
        try:
            reference[name] = value
        except OmegaConfBaseException:
            hint = f", say [{value}]" if kind.startswith("list") and isinstance(value, str) else ""
            yield f"{prefix}{name}: found '{shown(value)}', expected {kind}{hint} ({known[name].metadata['doc']})"
            continue
        rule = known[name].metadata
        if rule["choices"] and value not in rule["choices"]:
            yield f"{prefix}{name}: found '{shown(value)}', expected one of {', '.join(map(shown, rule['choices']))}"
        if isinstance(value, (int, float)):
            if rule["low"] is not None and not value >= rule["low"]:
                yield f"{prefix}{name}: found {value}, expected at least {rule['low']}"
            if rule["high"] is not None and not value <= rule["high"]:
                yield f"{prefix}{name}: found {value}, expected at most {rule['high']}"
    for name in known:
        if name not in node and (prefix or known[name].default is not None):
            yield f"{prefix}{name}: is missing; expected {known[name].metadata['doc']}"


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    return "null" if value is None else str(value)


def dataclass_of(field: Any) -> bool:
    """Is a key a whole group (trainer, logger, ...)?"""
    return is_dataclass(field.default_factory)


def train_rules(config: DictConfig) -> list[str]:
    """What must fit together in a training run."""
    faults = []
    data, model = config.data, config.model
    if model.get("classifier") == "two_stream" and model.get("attention") == "none":
        faults.append("model.classifier=two_stream needs an image: model.attention=none leaves its image stream empty")
    faults += split_rules(data)
    schema: Any = schema_for(data, "data")
    if schema is not None:
        faults += schema.train_faults(data, model)
    if config.get("scst") is not None and config.scst.get("start_epoch") == 0 and not config.get("weights"):
        faults.append(
            "weights: SCST goes on from a model trained with cross-entropy: give weights=RUN, or scst.start_epoch=N to "
            "begin with N epochs of it"
        )
    if config.get("weights_vocabulary") and not config.get("weights"):
        faults.append("weights_vocabulary=remap: there are no weights to carry over: give weights=RUN, or leave it out")
    if config.get("weights") is not None:
        faults += missing_packages(package_of(config.weights), "weights")
    if config.task.get("_target_") == "limner.tasks.vqa.VQATask":
        written = [name for name in ("decode", "scst") if config.get(name) is not None]
        faults += [
            f"{name}: is for captions; a task that answers questions writes none: {name}=null" for name in written
        ]
    if config.get("sweep") is not None:
        faults += sweep_faults(config)
    if config.trainer.strategy == "fsdp" and config.trainer.precision == "64-true":
        faults.append("trainer.precision=64-true: is not for trainer.strategy=fsdp; expected 32-true or a mixed one")
    if not config.callbacks.monitor.startswith("val/"):
        faults.append(f"callbacks.monitor={config.callbacks.monitor}: expected a validation metric, such as val/score")
    return faults or missing_files(data)


def splits(data: DictConfig) -> list[str] | None:
    """The splits of a data config; None for a user's own class, which checks them itself."""
    schema: Any = schema_for(data, "data")
    return None if schema is None else sorted(str(split) for split in data[schema.SPLITS])


def used_splits(data: DictConfig) -> set[str]:
    """The splits that a training run reads."""
    lists = [data.get(name) or [] for name in ("fit", "words_from", "answers_from")]
    return {split for some in lists for split in some} | ({data.get("select"), data.get("test")} - {None})


def split_rules(data: DictConfig) -> list[str]:
    """Every split that is used is there."""
    there = splits(data)
    if there is None:
        return []
    schema: Any = schema_for(data, "data")
    where = f"data.{schema.SPLITS}"
    return [f"{where} has no split '{s}'; it has {listing(there)}" for s in sorted(used_splits(data) - set(there))]


def one_split(data: DictConfig, split: str) -> DictConfig:
    """The data config with one split in use: words, answers and the like come with the trained model."""
    chosen = OmegaConf.to_container(data, resolve=True)
    assert isinstance(chosen, dict)
    schema: Any = schema_for(data, "data")
    chosen |= {"fit": [], "select": split, "test": None} | (schema.BROUGHT if schema else {})
    return OmegaConf.create(chosen)


def used_paths(data: DictConfig) -> list[tuple[str, str]]:
    """`(config key, path)` of every input file that a run with this data config reads."""
    schema: Any = schema_for(data, "data")
    used = used_splits(data) if schema else None
    found = []
    for field in fields(schema) if schema else []:
        if not field.metadata.get("path") or data.get(field.name) is None:
            continue
        value = data[field.name]
        entries = value.items() if isinstance(value, DictConfig) else [(None, value)]
        for split, paths in entries:
            if split is not None and used is not None and split not in used:
                continue
            where = f"data.{field.name}" + (f".{split}" if split is not None else "")
            found += [(where, str(p)) for p in ([paths] if isinstance(paths, str) else paths or [])]
    return found


def missing_files(data: DictConfig) -> list[str]:
    """One line for the files that are not there, with the command that makes them."""
    missing = [(key, path) for key, path in used_paths(data) if not Path(path).is_file()]
    if not missing:
        return []
    key, path = missing[0]
    more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
    makes = data.get("made_by")
    advice = f"make them with: {makes}" if makes else advice_for(key, data.get("folder"))
    return [f"{key}: there is no file {path}{more}; {advice}"]


def advice_for(key: str, folder: Any) -> str:
    """The next step for a missing file of a data set that limner cannot draw itself; folder: `data.folder`."""
    if key == "data.features":
        return (
            "make it with: limner features extract images=PATH out=FILE, or: limner features convert OLD --out NEW; "
            "limner data get lists published ones"
        )
    if key == "data.glove":
        return f"fetch it with: limner data get glove --to {folder}, or start from random words: data.glove=null"
    if key.startswith("data.visual_genome"):
        return "fetch it with: limner data get visual_genome"
    for part, name, else_ in (
        ("captions", "coco_karpathy", " (or coco_captions)"),
        ("questions", "vqa_v2", ", or leave the split out of data.words_from"),
        ("annotations", "vqa_v2", ""),
        ("dialogs", "visdial", ""),
        ("dense", "visdial", ""),
    ):
        if key.startswith(f"data.{part}"):
            return f"fetch it with: limner data get {name} --to {folder}{else_}"
    return f"correct {key}, or set it to null"


def evaluate_rules(config: DictConfig) -> list[str]:
    """An evaluation names a run or packages, and both exist."""
    if (config.run is None) == (config.model is None):
        return ["evaluate: give run=RUN_FOLDER or model=PACKAGE (or model=[A,B] for an ensemble), one of the two"]
    if config.run is not None and not Path(config.run).is_dir():
        return [f"run: there is no folder {config.run}; limner ls shows the runs"]
    there = splits(config.data) if config.get("data") is not None else None
    if there is not None and config.split not in there:
        return [f"split={config.split}: the data have {listing(there)}"]
    return missing_packages(config.model)


def predict_rules(config: DictConfig) -> list[str]:
    """A prediction's inputs exist, and the keys that are given belong together."""
    faults = missing_packages(config.model)
    stores, vectors = (
        [config[key]] if isinstance(config[key], str) else list(config[key] or [])
        for key in ("features", "global_features")
    )
    named = {key: config[key] for key in ("questions", "candidates") if isinstance(config[key], str)}
    given = [*(("features", store) for store in stores), *(("global_features", store) for store in vectors)]
    for key, path in [*named.items(), *given]:
        if not Path(str(path)).is_file():
            faults.append(f"{key}: there is no file {path}")
    if not stores and not faults and looks(config.model):
        faults.append("features: must be given: the model looks at regions (a feature store, .h5)")
    images = config.images
    if images is not None and (isinstance(images, str | int) or not all(isinstance(image, int) for image in images)):
        faults.append(f"images={images}: expected a list of image ids, such as images=[42]")
    elif config.mode == "dialog" and config.questions is None and stores and len(images or []) != 1:
        faults.append("images: a dialog on the terminal is about one image: images=[42]; or give questions=FILE")
    dialog = {"candidates": None, "caption": None, "keep_answers": True}
    if config.mode != "dialog":
        faults += [f"{key}: is for mode=dialog" for key, default in dialog.items() if config[key] != default]
    elif config.questions is not None and config.caption is not None:
        faults.append("caption: is for a dialog on the terminal; a file of questions has its own captions")
    elif config.format == "submission":
        faults.append("format=submission: is for ranks of given options, which mode=dialog does not make")
    if config.out is None and not (config.mode == "dialog" and config.questions is None):
        faults.append("out: must be given: the file to write, rows as JSON lines (.jsonl) or a submission (.json)")
    return faults


def looks(model: Any) -> bool:
    """Was a package trained on features? One that cannot be read is refused later."""
    try:
        folder = Path(model if isinstance(model, str) else model[0])
        return bool(json.loads((folder / "model.json").read_text(encoding="utf-8")).get("features"))
    except (OSError, ValueError, AttributeError):
        return False


def package_of(path: str) -> str:
    """A package folder, given itself or the run folder that it lies in."""
    inside = Path(path) / "package"
    return str(inside) if (inside / "model.json").is_file() else path


def missing_packages(model: Any, key: str = "model") -> list[str]:
    """A line for each folder that is not a model package."""
    folders = [] if model is None else [model] if isinstance(model, str) else list(model)
    return [
        f"{key}: {folder} is not a model package (no model.json); a run's package is RUN/package"
        for folder in folders
        if not (Path(folder) / "model.json").is_file()
    ]
