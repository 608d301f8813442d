"""Wrong command lines are answered with one clear line, exit code 2, and nothing heavy is imported for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec

import pytest

from limner import cli, preflight
from limner.errors import UserError
from limner.sweeps.space import one_job

TOY = "experiment=toy_vqa"

# what is typed -> what the line must say
BAD = {
    "experiment=toy_vqaa": ["there is no such experiment", "did you mean 'toy_vqa'?", "easy_vqa"],
    "optim.lr=1": ["experiment=...: choose one", "toy_vqa"],
    "experimnt=toy_vqa": ["there is no config group 'experimnt'", "did you mean 'experiment'?"],
    f"{TOY} optim=sgdd": ["there is no such optim", "did you mean 'sgd'?", "adamax"],
    f"{TOY} debug=fdrr": ["did you mean 'fdr'?"],
    f"{TOY} optim=null": ["optim=null: cannot be left out"],
    f"{TOY} optim.lrr=1": ["there is no key 'lrr' in optim", "did you mean 'optim.lr'?", "known: betas, eps"],
    f"{TOY} lr=1": ["there is no key 'lr'", "did you mean 'optim.lr'?"],
    f"{TOY} sed=2": ["did you mean 'seed'?"],
    f"{TOY} +unknown=1": ["+unknown=1: there is no key 'unknown'"],
    f"{TOY} ++data.foo=1": ["there is no key 'foo' in data"],
    f"{TOY} +data.batchsize=1": ["did you mean 'data.batch_size'?"],
    f"{TOY} data.questions.trian=x": ["no key 'trian' in data.questions", "data.questions.train", "+data.questions"],
    f"{TOY} optim.lr=abc": ["optim.lr: found 'abc', expected float"],
    f"{TOY} trainer.max_epochs=1.5": ["trainer.max_epochs: found '1.5', expected int"],
    f"{TOY} trainer.max_epochs=0": ["trainer.max_epochs: found 0, expected at least 1"],
    f"{TOY} model.dropout_classifier=1.5": ["found 1.5, expected at most 0.99"],
    f"{TOY} data.fit=train": ["expected list[str], say [train]"],
    f"{TOY} data.questions=null": ["data.questions: found 'null', expected dict"],
    f"{TOY} paths.data=null": ["paths.data: found 'null', expected str"],
    f"{TOY} task.loss=mse": ["task.loss: found 'mse', expected one of soft_bce, hard_bce, softmax, kl"],
    f"{TOY} trainer.precision=half": ["expected one of 32-true, bf16-mixed"],
    f"{TOY} trainer=fsdp trainer.precision=64-true": ["is not for trainer.strategy=fsdp; expected 32-true"],
    f"{TOY} trainer.strategy=ddp_spawn": ["expected one of auto, ddp"],
    f"{TOY} ~optim": ["~optim: cannot be left out"],
    f"{TOY} ~data.batch_size": ["data.batch_size: is missing"],
    f"{TOY} model._target_=limner.models.updown.X": ["limner has no such class"],
    f"{TOY} model._target_=no_such_package.X": ["there is no package no_such_package"],
    f"{TOY} optim.lr=1,2": ["several values make a sweep: add -m"],
    f"{TOY} foo": ["'foo' is not an override: expected key=value"],
    f"{TOY} optim.betas=[1": ["is not an override"],
    f"{TOY} -x": ["-x: there is no such option"],
    f"{TOY} --config-dir=nowhere": ["--config-dir nowhere: there is no such folder"],
    f"{TOY} data.features=[]": ["data.features is empty but model.attention=product needs an image"],
    f"{TOY} data.select=dev": ["data.questions has no split 'dev'; it has test, train, val"],
    f"{TOY} ~data.annotations.train": ["data.annotations has no split 'train'"],
    f"{TOY} callbacks.monitor=train/loss": ["expected a validation metric"],
    f"{TOY} model.attention=none model.classifier=two_stream data.features=[]": ["two_stream needs an image"],
    f"{TOY} data.folder=nowhere": ["data.questions.train: there is no file nowhere/", "limner data toy nowhere"],
    "experiment=vqa_updown paths.data=nowhere": ["nowhere/vqa_v2/", "limner data get vqa_v2 --to nowhere/"],
    f"{TOY} resume=nowhere": ["nowhere is not a run folder", "limner ls"],
}  # fmt: skip


def answer(capsys, *words: str) -> str:
    """The one line that `limner WORDS` prints."""
    assert cli.main(list(words)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("typed", BAD)
def test_bad_command_lines(capsys, tmp_path, typed):
    line = answer(capsys, "train", *typed.split())
    assert line.startswith("limner train: ")
    for said in BAD[typed]:
        assert said in line
    assert list(tmp_path.iterdir()) == []  # nothing was made


def test_several_faults_at_once(capsys):
    words = ["trainer.max_epochs=0", "task.loss=x", "optim.lr=-1", "data.batch_size=-1"]
    line = answer(capsys, "train", TOY, *words)
    for word in ("trainer.max_epochs", "task.loss", "optim.lr", "data.batch_size"):
        assert word in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate"], "give run=RUN_FOLDER or model=PACKAGE"),
        (["evaluate", "run=a", "model=b"], "one of the two"),
        (["evaluate", "run=nowhere"], "there is no folder nowhere"),
        (["evaluate", "model=nowhere"], "nowhere is not a model package"),
        (["evaluate", "model=[a,b]"], "a is not a model package"),
        (["evaluate", "-m", "run=a,b"], "only limner train sweeps"),
        (["predict", "model=a", "features=b.h5", "questions=c.json"], "out: must be given"),
        (["predict", "model=a", "features=b.h5", "questions=c.json", "out=d"], "questions: there is no file c.json"),
        (
            ["predict", "model=a", "features=b", "questions=c", "out=d", "format=csv"],
            "expected one of rows, submission",
        ),
        (["trian"], "did you mean 'train'?"),
        (["ls", "optin"], "did you mean 'optim'?"),
        (["data", "toi"], "there is no such data set"),
        (["train", "-m", "experiment=toy_vqa", "optim.lrr=1,2"], "there is no key 'lrr' in optim"),
        (["train", "--cfg", "job"], "experiment=...: choose one"),
        (["train", "--cfg", "job", "experiment=toy_vqa", "optim.lrr=1"], "there is no key 'lrr' in optim"),
    ],
)
def test_other_verbs(capsys, words, said):
    assert said in answer(capsys, *words)


def test_a_mistake_imports_nothing_heavy(tmp_path):
    """The process that answers a mistake has loaded neither torch nor Lightning nor h5py."""
    program = (
        "import sys; from limner.cli import main; code = main(['train', 'experiment=toy_vqa', 'optim.lr=abc']);"
        "heavy = {'torch', 'pytorch_lightning', 'h5py', 'wandb'} & set(sys.modules);"
        "sys.exit(f'{code} {sorted(heavy)}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr.splitlines()[-1] == "2 []"


def test_a_users_own_experiment(tmp_path):
    """A folder of one's own is searched beside limner's, and its experiments may build on limner's."""
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/optim").mkdir()
    (tmp_path / "mine/experiment/big.yaml").write_text(
        "# @package _global_\ndefaults: [toy_vqa, {override /optim: fast}, _self_]\nname: big\nmodel: {hidden: 77}\n"
    )
    optim = "_target_: torch.optim.RMSprop\n_partial_: true\nlr: 0.5\ncentered: true\n"
    (tmp_path / "mine/optim/fast.yaml").write_text(optim)
    folders = [str(tmp_path / "mine")]
    config = preflight.compose("train", ["experiment=big"], folders, checked=False)
    assert (config.name, config.model.hidden, config.optim.centered) == ("big", 77, True)
    assert config.model.embed_dim == preflight.compose("train", [TOY], checked=False).model.embed_dim
    assert "big" in preflight.group_options("experiment", folders)
    with pytest.raises(UserError, match="did you mean 'big'"):
        preflight.compose("train", ["experiment=bigg"], folders)
    with pytest.raises(UserError, match="there is no such experiment"):
        preflight.compose("train", ["experiment=big"])


def test_first_job_of_a_sweep():
    words = ["experiment=toy_vqa,easy_vqa", "optim.lr=1e-3,2e-3", "seed=range(1,4)", "name=x", "hydra.sweep.dir=y"]
    assert one_job(words) == ["experiment=toy_vqa", "optim.lr=0.001", "seed=1", "name=x"]


def test_help_and_version(capsys):
    assert cli.main([]) == cli.main(["--help"]) == cli.main(["--version"]) == 0
    out = capsys.readouterr().out
    for verb in [*cli.COMPOSED, *cli.PLAIN]:
        assert f"  {verb} " in out


@pytest.mark.parametrize("verb", [*cli.COMPOSED, *cli.PLAIN])
def test_every_verb_has_a_main(verb):
    module = {**cli.COMPOSED, **cli.PLAIN}[verb][0]
    assert find_spec(module) is not None
    assert callable(importlib.import_module(module).main)
