"""`limner VERB ...`. Each verb imports what it needs when it is called, so that help and typos answer at once."""

from __future__ import annotations

import importlib
import os
import sys

from limner import __version__
from limner.errors import UserError

# verb -> (module, function, one line). Composed verbs take Hydra overrides, the others ordinary arguments.
COMPOSED = {
    "train": ("limner.train", "train a model: limner train experiment=toy_vqa"),
    "evaluate": ("limner.evaluate", "evaluate a run or package: limner evaluate run=outputs/... split=val"),
    "predict": ("limner.predict", "answers, captions, dialogs: limner predict model=DIR features=F questions=Q out=O"),
}
PLAIN = {
    "features": ("limner.data.features.command", "feature stores: limner features check|info|convert|extract"),
    "data": (
        "limner.data.command",
        "data: published (get), one's own (init, check), drawn (toy): limner data get vqa_v2",
    ),
    "import": (
        "limner.weights.command",
        "published checkpoints: limner import hu-vqa|vilbert|bert FILE --to DIR",
    ),
    "load": ("limner.weights.verify", "check a model package whole, down to one prediction: limner load PACKAGE"),
    "info": ("limner.weights.info", "what a model package is: limner info PACKAGE"),
    "diff": ("limner.weights.diff", "in what two model packages differ: limner diff A B"),
    "remap": (
        "limner.weights.remap_command",
        "a package with another vocabulary: limner remap PACKAGE --vocab FILE --to DIR",
    ),
    "report": ("limner.reports.command", "a run as a page with curves and pictures: limner report RUN"),
    "dashboard": ("limner.reports.dashboard", "wandb's workspace and report from code: limner dashboard vqa --out F"),
    "compare": ("limner.reports.compare", "two evaluations, with an interval: limner compare A B"),
    "submission": ("limner.submit", "files for evaluation servers: limner submission check|score|fuse FILE ..."),
    "doctor": ("limner.doctor.command", "versions, cores, GPUs, disk, data, two processes: what stands in the way"),
    "ls": ("limner.listing", "experiments, config groups, keys (--keys) and runs"),
}
HYDRA_FLAGS = {"-m", "--multirun", "-c", "--cfg", "-h", "--help", "--hydra-help", "-i", "--info", "-sc"}
HYDRA_FLAGS |= {"--shell-completion", "--resolve", "-p", "--package", "--version"}


def main(argv: list[str] | None = None) -> int:
    """The exit code of `limner ARGV`: 0, 2 for the user's error (one line on stderr), 1 for ours (a traceback)."""
    argv = sys.argv[1:] if argv is None else argv
    # waiting threads give way: on cores that others use too, spinning ones made a training step five times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"limner {__version__}")
        return 0
    verb, rest = argv[0], argv[1:]
    try:
        return dispatch(verb, rest)
    except UserError as error:
        print(f"limner {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe has gone: limner ls | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the last flush must not fail, too
        return 0
    except KeyboardInterrupt:
        print(f"limner {verb}: interrupted", file=sys.stderr)
        return 130


def dispatch(verb: str, rest: list[str]) -> int:
    if verb in PLAIN:
        return importlib.import_module(PLAIN[verb][0]).main(rest)
    if verb not in COMPOSED:
        from limner.preflight import suggest

        raise UserError(f"there is no such verb{suggest(verb, [*COMPOSED, *PLAIN])}; limner --help lists them")
    overrides, config_dirs, flags = sort_arguments(rest)
    if flags or (verb == "train" and any(word.startswith("sweep=") for word in overrides)):
        from limner import hydra_app

        return hydra_app.main(verb, overrides, config_dirs, flags)
    return importlib.import_module(COMPOSED[verb][0]).main(overrides, config_dirs)


def sort_arguments(arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Overrides, folders of `--config-dir`, and the flags that Hydra's own command line answers."""
    overrides: list[str] = []
    config_dirs: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            config_dirs.append(value or next(rest, ""))
        elif name in HYDRA_FLAGS:
            flags.append(argument)
            if name in ("-c", "--cfg", "-i", "--info", "-p", "--package") and not value:
                flags.append(next(rest, ""))
        elif argument.startswith("-"):
            raise UserError(f"{argument}: there is no such option; keys are set as key=value, help is --help")
        else:
            overrides.append(argument)
    return overrides, config_dirs, flags


def usage() -> str:
    lines = ["limner: experiments on image regions and language", "", "usage: limner VERB ...", ""]
    lines += [f"  {verb:<11} {about}" for verb, (_, about) in {**COMPOSED, **PLAIN}.items()]
    lines += ["", "limner VERB --help says more; to begin with:"]
    lines += ["  limner data toy data/toy && limner train experiment=toy_vqa"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
