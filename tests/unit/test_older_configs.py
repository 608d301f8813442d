"""What an earlier version saved can still be evaluated and resumed."""

from __future__ import annotations

from omegaconf import OmegaConf

from limner import preflight
from limner.schema.check import typed
from limner.schema.older import fill
from limner.schema.visdial_data import VisDialData


def test_keys_that_came_later_take_their_defaults():
    config = preflight.compose("train", ["experiment=toy_visdial"], checked=False)
    OmegaConf.set_struct(config, False)
    expected = OmegaConf.to_container(config)
    for group, name in (("data", "per_image"), ("model", "fusion"), ("trainer", "precision")):
        del config[group][name]
    assert any("is missing" in fault for fault in typed(VisDialData, config.data, "data."))
    fill(config)
    assert [*typed(VisDialData, config.data, "data.")] == []
    expected["data"]["per_image"] = VisDialData().per_image  # a default, not what the experiment says
    assert OmegaConf.to_container(config) == expected


def test_what_must_be_given_is_not_invented():
    config = OmegaConf.create({"schedule": {"_target_": "limner.optim.XEThenSCST"}, "task": None, "seed": 1})
    fill(config)
    assert "start" not in config.schedule
    assert config.schedule.rl_factor == 0.1


def test_a_class_of_ones_own_is_left_alone():
    config = OmegaConf.create({"task": {"_target_": "mine.Task", "a": 1}})
    assert fill(config) == {"task": {"_target_": "mine.Task", "a": 1}}
