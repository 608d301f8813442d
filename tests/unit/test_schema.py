"""YAML files and dataclasses say the same keys, and every option of every group composes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from limner import preflight
from limner.listing import keys
from limner.paths import conf_dir
from limner.schema import GROUPS, TARGETED, VERBS, schema_for, target_of
from limner.schema.check import typed
from limner.schema.keys import documented

EXPERIMENTS = preflight.group_options("experiment", [])
TRAINED = (
    "task",
    "model",
    "data",
    "optim",
    "schedule",
    "trainer",
    "logger",
    "callbacks",
    "paths",
    "debug",
    "decode",
    "scst",
)
OPTIONS = [(group, option) for group in TRAINED for option in preflight.group_options(group, [])]
SCHEMAS = [*VERBS.values(), *GROUPS.values(), *TARGETED]


@cache
def composed(experiment: str):
    """An experiment as it stands; the tests only read it."""
    return preflight.compose("train", [f"experiment={experiment}"], checked=False)


def schemas(experiment: str) -> tuple:
    """What decides which keys its config has: the schema of every part."""
    parts = (
        (name, schema_for(node, str(name))) for name, node in composed(experiment).items() if OmegaConf.is_dict(node)
    )
    return tuple(sorted(parts, key=str))


def faults(config) -> list[str]:
    """Faults of types, choices and keys, without looking for files."""
    found = list(typed(VERBS["train"], config, ""))
    for name, node in config.items():
        schema = schema_for(node, str(name)) if OmegaConf.is_dict(node) else None
        found += typed(schema, node, f"{name}.") if schema else []
    return found


def test_counts():
    """A new file is seen by the tests below; a lost one is missed."""
    assert len(EXPERIMENTS) >= 8
    assert len(OPTIONS) >= 26
    assert len(list((conf_dir() / "experiment").iterdir())) == len(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment):
    config = composed(experiment)
    assert faults(config) == []
    assert config.name == experiment  # its runs stand in a folder of its name
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group, option):
    """With one of the tasks it is made for; one that has the same class there is tried first."""
    target = with_defaults(conf_dir() / group / f"{option}.yaml").get("_target_")
    tasks = ("toy_vqa", "toy_caption_scst", "caption_xe_then_scst", "visdial")
    found = []
    for experiment in sorted(tasks, key=lambda name: (composed(name).get(group) or {}).get("_target_") != target):
        config = preflight.compose("train", [f"experiment={experiment}", f"{group}={option}"], checked=False)
        found.append(faults(config))
        if not found[-1]:
            OmegaConf.to_container(config, resolve=True)
            return
    assert [] in found


@pytest.mark.parametrize("debug", preflight.group_options("debug", []))
def test_every_debug_preset_works_on_every_experiment(debug):
    """On one experiment of each set of schemas: presets set the same keys whatever the values of the others are."""
    chosen = {schemas(experiment): experiment for experiment in EXPERIMENTS}
    assert len({composed(experiment).task._target_ for experiment in chosen.values()}) >= 4
    for experiment in chosen.values():
        config = preflight.compose("train", [f"experiment={experiment}", f"debug={debug}"], checked=False)
        assert faults(config) == [], experiment


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_the_other_verbs_compose(verb):
    config = preflight.compose(verb, [], checked=False)
    assert {str(k) for k in config} | {"data", "decode"} >= set(documented(VERBS[verb]))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda cls: cls.__name__)
def test_every_key_is_documented(schema):
    for name, field in documented(schema).items():
        assert len(field.metadata.get("doc", "")) > 5, name
        assert "\n" not in field.metadata["doc"]


def with_defaults(path: Path) -> dict:
    """A YAML file after the ones of its group that it builds on."""
    content = yaml.safe_load(path.read_text())
    for name in content.get("defaults", []) if path.parent.name != "experiment" else []:
        if isinstance(name, str) and name != "_self_":
            content = with_defaults(path.parent / f"{name}.yaml") | content
    return content


@pytest.mark.parametrize("schema", [*GROUPS.values(), *TARGETED], ids=lambda cls: cls.__name__)
def test_every_key_stands_in_a_yaml_file(schema):
    """Whoever opens a YAML file of the group sees all its keys."""
    shown = False
    for path in conf_dir().glob("*/*.yaml"):
        content = with_defaults(path)
        if schema in GROUPS.values():
            fits = next(name for name, cls in GROUPS.items() if cls is schema) == path.parent.name
        else:
            fits = content.get("_target_") == target_of(schema)
        shown = shown or (fits and set(documented(schema)) <= content.keys())
    assert shown


@pytest.mark.parametrize("schema", TARGETED, ids=lambda cls: cls.__name__)
def test_every_key_is_an_argument(schema):
    """A schema promises nothing that its class does not take."""
    import importlib
    import inspect

    module, _, name = target_of(schema).rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        assert set(documented(schema)) <= set(parameters)


def test_targets_are_described_once():
    targets = [target_of(cls) for cls in TARGETED]
    assert len(set(targets)) == len(targets)


def test_the_list_of_keys_has_them_all():
    printed = "\n".join(keys())
    for schema in SCHEMAS:
        for name in documented(schema):
            assert f"  {name}: " in printed
    assert "one of soft_bce, hard_bce, softmax, kl" in printed
