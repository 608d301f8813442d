"""`limner features extract images=PATH out=FILE [extractor=NAME] [extractor.KEY=VALUE ...]`.

The configuration is composed by Hydra from `conf/extract.yaml` and `conf/extractor/NAME.yaml`. An extractor of one's
own is a YAML file whose `_target_` names a class; `--config-dir DIR` finds it in `DIR/extractor`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from limner.errors import UserError
from limner.paths import conf_dir
from limner.preflight import group_options, suggest

_PATHS = ("images", "out")  # may hold characters that mean something to Hydra


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit status. Raises `UserError` for what the user can mend."""
    if not argv or {"-h", "--help"} & set(argv):
        print(usage())
        return 0
    config, extractor = compose(argv)
    from limner.extract.run import extract

    count = extract(config.images, config.out, extractor, progress=config.progress)
    print(f"{config.out}: {count:,} images, {extractor.dim} numbers a region, extractor {extractor.name}")
    return 0


def usage() -> str:
    """The help text: the config files themselves, which explain every key."""
    files = [conf_dir() / "extract.yaml", *sorted((conf_dir() / "extractor").glob("*.yaml"))]
    parts = [f"{file.relative_to(conf_dir())}\n{file.read_text()}" for file in files]
    return "usage: limner features extract images=PATH out=FILE [extractor=NAME] [KEY=VALUE ...]\n\n" + "\n".join(parts)


def compose(argv: list[str]) -> tuple[DictConfig, Any]:
    """The checked configuration and the extractor that it names.

    Raises `UserError`: an unknown key or extractor (with the nearest known one), a value of the wrong kind, a missing
    `images` or `out`, a class that is not there.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    overrides, folders = _sorted(argv)
    chosen = [text for text in overrides if text.startswith("extractor=")]
    for text in chosen:
        name, known = text.partition("=")[2], group_options("extractor", folders)
        if name not in known:
            raise UserError(f"{text}: there is no such extractor{suggest(name, known)}; there are {', '.join(known)}")
    search = [f"hydra.searchpath=[{','.join('file://' + str(Path(folder).resolve()) for folder in folders)}]"]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="extract"):
            base = hydra_compose("extract", overrides=[*search, *chosen])
            values = [_checked(text, base) for text in overrides if text not in chosen]
            config = hydra_compose("extract", overrides=[*search, *chosen, *values])
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"extract: {' '.join(str(error).split())}") from None
    _same_kinds(config, base)
    missing = [f"{key}=..." for key in _PATHS if OmegaConf.is_missing(config, key)]
    if missing:
        raise UserError(f"extract: {' and '.join(missing)} must be given, for example images=pictures out=regions.h5")
    return config, _made(config.extractor)


def _sorted(argv: list[str]) -> tuple[list[str], list[str]]:
    """Overrides, and the folders of `--config-dir`."""
    overrides, folders, rest = [], [], iter(argv)
    for text in rest:
        name, _, value = text.partition("=")
        if name in ("--config-dir", "-cd"):
            folders.append(value or next(rest, ""))
        elif text.startswith("-") or not value:
            raise UserError(f"extract: '{text}' is not an override, expected KEY=VALUE such as images=pictures")
        else:
            overrides.append(text)
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"--config-dir {folder}: there is no such folder")
    return overrides, folders


def _checked(text: str, base: DictConfig) -> str:
    """An override whose key is known, with a path quoted for Hydra."""
    name, _, value = text.partition("=")
    top, _, rest = name.partition(".")
    if top == "extractor" and rest:
        known, word, prefix = [key for key in base.extractor if key != "_target_"], rest, "extractor."
    else:
        known, word, prefix = list(base), name, ""
    if word not in known:
        raise UserError(
            f"{text}: there is no key '{name}'{suggest(word, known, prefix)}; known: "
            f"{', '.join(prefix + key for key in sorted(known))}"
        )
    if name not in _PATHS:
        return text
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{quoted}'"


def _same_kinds(config: DictConfig, base: DictConfig) -> None:
    """A number where there was a number, and so on; a whole number will do for a decimal one."""
    for key, was in base.extractor.items():
        now = config.extractor[key]
        if type(now) is type(was) or was is None or (type(was) is float and type(now) is int):
            continue
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(type(was), "a list")
        raise UserError(f"extractor.{key}={now}: expected {kind}, such as {was}")
    if type(config.progress) is not bool:
        raise UserError(f"progress={config.progress}: expected true or false")


def _made(config: DictConfig) -> Any:
    from hydra.utils import get_class

    settings: Any = OmegaConf.to_container(config, resolve=True)
    target = settings.pop("_target_")
    try:
        return get_class(target)(**settings)
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"extractor._target_={target}: cannot be made: {' '.join(str(error).split())}") from None
