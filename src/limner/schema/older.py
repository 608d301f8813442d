"""Configurations that an earlier version saved: keys that have come since take their defaults."""

from __future__ import annotations

from dataclasses import MISSING, is_dataclass
from typing import Any

from omegaconf import DictConfig, open_dict

from limner.schema import schema_for
from limner.schema.keys import documented


def fill(config: DictConfig) -> DictConfig:
    """Gives every group of a saved configuration the keys it lacks, in place; a key without a default stays away.

    A new key's default is what the version before did, so that old runs and packages go on as they were.
    """
    for group, node in config.items():
        schema = schema_for(node, str(group)) if isinstance(node, DictConfig) else None
        for name, field in documented(schema).items() if schema is not None else ():
            default: Any = field.default if field.default_factory is MISSING else field.default_factory()
            if name in node or default is MISSING or default == "???" or is_dataclass(default):
                continue
            with open_dict(node):
                node[name] = default
    return config
