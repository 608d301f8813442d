"""`limner predict`: what a model package says about regions of one's own: answers, captions, dialogs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limner import preflight
from limner.errors import UserError


def main(overrides: list[str], config_dirs: list[str]) -> int:
    """Writes the predictions; the exit code."""
    config = preflight.compose("predict", overrides, config_dirs)

    import torch

    from limner import inference
    from limner.data.features.together import open_stores
    from limner.metrics import rows as rows_of
    from limner.weights import package

    if config.threads:
        torch.set_num_threads(config.threads)
    device = usable(config.device)
    folders = [config.model] if isinstance(config.model, str) else list(config.model)
    packages = [package.read(folder) for folder in folders]
    name = str(packages[0].meta.get("task"))
    task = inference.module_for(name)
    if config.mode not in inference.modes(task):
        raise UserError(f"mode={config.mode}: is for models of visual dialog, but this one is for {name}; leave it out")
    predictor = task.Predictor(packages, device=device)
    trained_on = packages[0].meta.get("features") or {}
    store = open_stores(paths_of(config.features), max_regions=trained_on.get("max_regions")) if trained_on else None
    if store is not None:
        fits(store, trained_on)
    made, count = task.predict(predictor, store, config)
    if config.out is None:  # a dialog on the terminal
        for _ in made:
            pass
        return 0
    out = Path(config.out)
    if config.format == "submission":
        task.SUBMISSION(out, made)
    else:
        rows_of.write(out, made)
    print(f"rows: {out}" if count is None else f"{count:,} rows: {out}")
    return 0


def paths_of(features: Any) -> list[str]:
    """The feature stores that are given."""
    return [features] if isinstance(features, str) else list(features or [])


def fits(store: Any, trained_on: dict[str, Any]) -> None:
    """Refuses features of another extractor than the model was trained on; an unknown one fits any."""
    if trained_on.get("extractor") not in (None, "unknown", store.extractor):
        expected = trained_on["extractor"]
        raise UserError(f"features: extractor is {store.extractor}, but the model was trained on {expected}")
    if trained_on["dim"] != store.dim:
        raise UserError(f"features: {store.dim} numbers a region, but the model was trained on {trained_on['dim']}")


def usable(name: str) -> str:
    """The device to compute on; `auto` takes a GPU when there is one."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"device={name}: cannot be used ({first}); expected auto, cpu, cuda or cuda:N") from None
    return name
