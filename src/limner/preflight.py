"""From the words on the command line to a checked configuration, or one clear line that says what is wrong.

Nothing heavy is imported here (no torch, no Lightning): a typo is answered in a fraction of a second.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from limner.errors import UserError, listing
from limner.paths import conf_dir
from limner.schema import VERBS, schema_for
from limner.schema.check import check
from limner.schema.keys import documented


def compose(
    verb: str, overrides: list[str], config_dirs: list[str] | None = None, *, checked: bool = True
) -> DictConfig:
    """Composes `conf/VERB.yaml` with the overrides and checks every key, type and choice.

    Args:
        verb: train, evaluate or predict.
        overrides: Hydra overrides, `group=option`, `key=value`, `~key`, `+group=option`.
        config_dirs: folders with the user's own configs, searched beside limner's.
        checked: check values and files too, not only names.

    Raises:
        UserError: one line for the first override that cannot be used, or one line with all wrong values.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    GlobalHydra.instance().clear()
    packages = [] if verb == "train" else [text for text in overrides if text.startswith("model=")]
    overrides = [text for text in overrides if text not in packages]
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name=verb):
        groups, values = split_overrides(overrides, config_dirs or [])
        search = [f"hydra.searchpath=[{','.join('file://' + str(Path(d).resolve()) for d in config_dirs or [])}]"]
        try:
            base = hydra_compose(verb, overrides=search + groups)
            refuse_unknown(verb, base, values)
            config = hydra_compose(verb, overrides=search + groups + values) if values else base
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            refuse_mistyped_groups(values, config_dirs or [])
            raise UserError(explain(error)) from None
    for text in packages:  # Hydra would look for an option of the config group `model`
        OmegaConf.update(config, "model", parse(text).value(), force_add=True)
    if verb == "train" and config.get("sweep") is not None and not any(text.startswith("sweep=") for text in groups):
        raise UserError("sweep: a search is begun on the command line, with sweep=NAME, not by an experiment")
    if checked:
        check(verb, config)
    return config


def parse(text: str) -> Any:
    """One override as Hydra understands it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        hint = "expected key=value, such as optim.lr=1e-3; quote values with spaces or commas: key='a b'"
        raise UserError(f"'{text}' is not an override: {hint}") from None


def split_overrides(overrides: list[str], config_dirs: list[str]) -> tuple[list[str], list[str]]:
    """Sorts overrides into choices of a group's option and values of keys; refuses what is neither."""
    groups, values = [], []
    options = {group: group_options(group, config_dirs) for group in group_names(config_dirs)}
    for text in overrides:
        override = parse(text)
        name = override.key_or_group
        if override.is_sweep_override():
            raise UserError(f"{text}: several values make a sweep: add -m; one value with a comma is quoted: 'a,b'")
        if name not in options:
            values.append(text)
            continue
        chosen = override.value()
        if chosen is None and name not in ("debug", "data", "decode", "scst", "sweep"):
            raise UserError(f"{text}: cannot be left out; there are {listing(options[name], show=20)}")
        for choice in [chosen] if isinstance(chosen, str) else []:
            if choice not in options[name] and choice not in ("null", ""):
                raise UserError(
                    f"{name}={choice}: there is no such {name}{suggest(choice, options[name])}; "
                    f"there are {listing(options[name], show=20)}"
                )
        groups.append(text)
    return groups, values


def group_names(config_dirs: list[str]) -> list[str]:
    """Names of the config groups: the subfolders of the config folders."""
    folders = [conf_dir(), *map(Path, config_dirs)]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"--config-dir {folder}: there is no such folder; give a folder with YAML files by group")
    return sorted({p.name for f in folders for p in f.iterdir() if p.is_dir() and p.name != "hydra"})


def group_options(group: str, config_dirs: list[str]) -> list[str]:
    """Options of a group: the YAML files in its folders."""
    return sorted({p.stem for f in [conf_dir(), *map(Path, config_dirs)] for p in (f / group).glob("*.yaml")})


def refuse_unknown(verb: str, base: DictConfig, values: list[str]) -> None:
    """Refuses an override of a key that neither the composed config nor the schema has, with a suggestion."""
    for text in values:
        override = parse(text)
        path = override.key_or_group
        if path.startswith(("hydra.", "hydra/")):
            continue
        parts = path.split(".")
        node: Any = base
        for depth, part in enumerate(parts):
            known = keys_of(verb, node, parts[:depth])
            if known is None or part in known or (override.is_add() and depth > 1):
                node = node.get(part) if isinstance(node, DictConfig) else None
                continue
            where = ".".join(parts[:depth])
            inside = f" in {where}" if where else ""
            full = suggest(part, known, prefix=where + "." if where else "")
            if not full and not where:
                full = suggest_deep(part, base)
            shown = sorted(str(key) for key in known if not str(key).startswith("_"))
            more = f"; a new one is added with +{text}" if depth > 1 else ""
            raise UserError(f"{text}: there is no key '{part}'{inside}{full}; known: {listing(shown, show=12)}{more}")


def refuse_mistyped_groups(values: list[str], config_dirs: list[str]) -> None:
    """When nothing could be composed, a word that is nearly a group's name is the likely cause: `experimnt=toy_vqa`."""
    groups = group_names(config_dirs)
    for text in values:
        name = text.lstrip("+~").partition("=")[0]
        if "." not in name and name not in groups and (hint := suggest(name, groups)):
            raise UserError(f"{text}: there is no config group '{name}'{hint}")


def keys_of(verb: str, node: Any, path: list[str]) -> set[str] | None:
    """Keys a config node may have; None where anything goes (a user's own class, a free dictionary, a leaf)."""
    if not path:
        return set(documented(VERBS[verb])) | (set(node) if node is not None else set())
    schema = schema_for(node, path[0]) if len(path) == 1 else None
    if schema is not None:
        return set(documented(schema)) | {"_target_", "_partial_"}
    if isinstance(node, DictConfig) and "_target_" not in node:
        return {str(key) for key in node}
    return None


def suggest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`" (did you mean 'x'?)"` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{prefix}{near[0]}'?)" if near else ""


def suggest_deep(word: str, base: DictConfig) -> str:
    """Suggests a key one level down: `lr=1` where `optim.lr` was meant."""
    groups = [(key, node) for key, node in base.items_ex(resolve=False) if isinstance(node, DictConfig)]
    deep = {f"{key}.{sub}" for key, node in groups for sub in node}
    exact = sorted(d for d in deep if d.split(".")[1] == word)
    return f" (did you mean '{exact[0]}'?)" if exact else ""


def explain(error: Exception) -> str:
    """Hydra's or OmegaConf's message as one line."""
    text = str(error)
    missing = re.search(r"You must specify '([\w/]+)'.*?Available options:\s*(.*)", text, re.S)
    if missing:
        group, options = missing.group(1), missing.group(2).split()
        return f"{group}=...: choose one; there are {listing(options, show=30)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[:3])
