"""Changes of a saved configuration from the command line: `trainer.max_epochs=20` on top of what a run has kept."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from limner.errors import UserError, listing
from limner.preflight import suggest


def change(config: DictConfig, text: str, *, whole: str) -> None:
    """Sets one value that the configuration already has.

    Args:
        config: is changed.
        text: `key=value`; the value is read as YAML.
        whole: what the configuration is, for the error line: "resume= continues the saved configuration".

    Raises:
        UserError: no `key=value`, an unknown key, or a whole group.
    """
    name, equals, value = text.partition("=")
    if not equals or name.startswith(("+", "~")):
        raise UserError(f"'{text}' is not a change: {whole}; change single values with key=value")
    parts = name.split(".")
    for depth, part in enumerate(parts):
        node = OmegaConf.select(config, ".".join(parts[:depth])) if depth else config
        if not isinstance(node, DictConfig) or part not in node:
            known = [str(key) for key in node] if isinstance(node, DictConfig) else []
            prefix = "".join(f"{p}." for p in parts[:depth])
            hint = suggest(part, known, prefix=prefix)
            raise UserError(f"{text}: {whole}; it has no key '{name}'{hint}; known: {listing(known, show=12)}")
    if isinstance(OmegaConf.select(config, name), DictConfig):
        raise UserError(f"{text}: {whole}; a whole group cannot change, only single values of it")
    OmegaConf.update(config, name, value_of(text, value))


def value_of(text: str, value: str) -> Any:
    try:
        return OmegaConf.create(f"v: {value}").v
    except (OmegaConfBaseException, YAMLError):
        raise UserError(f"'{text}' is not an override: expected key=value, such as trainer.max_epochs=20") from None
