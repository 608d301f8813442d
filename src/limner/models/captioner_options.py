"""The options of the Up-Down captioner: what may be chosen, what fits together, what the paper chose."""

from __future__ import annotations

from limner.errors import UserError

CHOICES = {
    "regions": ("embedded", "raw"),
    "global_source": ("mean", "given"),
    "batch_norm": ("none", "before", "both"),
    "init": ("torch", "release"),
}


def check(options: dict) -> None:
    """Raise ONE error that names every option that cannot be."""
    wrong = [
        f"{key}={options[key]!r} (choose one of {', '.join(choices)})"
        for key, choices in CHOICES.items()
        if options[key] not in choices
    ]
    sizes = ["words", "feature_dim", "embed_dim", "hidden", "attention_hidden"]
    sizes += ["global_dim"] if options["global_source"] == "given" else []
    wrong += [f"{key}={options[key]!r} (must be 1 or more)" for key in sizes if not options[key] >= 1]
    drops = ("dropout_words", "dropout_global", "dropout_regions", "dropout_output")
    for key in drops:
        if not 0 <= options[key] < 1:
            wrong.append(f"{key}={options[key]!r} (must be at least 0 and less than 1)")
    if options["regions"] == "raw":
        of_embedded = {"batch_norm": "none", "dropout_global": 0, "dropout_regions": 0}
        wrong += [
            f"{key}={options[key]!r} (regions=raw has no layer for it: set {none})"
            for key, none in of_embedded.items()
            if options[key] != none
        ]
    if wrong:
        raise UserError(f"model: {'; '.join(wrong)}")


# the paper's arguments, as differences from the defaults: the dropouts are not mentioned there
PAPER = {
    "regions": "raw",
    "attention_bias": False,
    "word_relu": False,
    "init": "release",
    "dropout_words": 0.0,
    "dropout_global": 0.0,
    "dropout_regions": 0.0,
    "dropout_output": 0.0,
}
