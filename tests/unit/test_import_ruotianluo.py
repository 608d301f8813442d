"""`limner import ruotianluo`: model.pth with its infos, or with a vocabulary alone; what does not fit together."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from omegaconf import OmegaConf
from test_import_command import Evil

import published_captioners as published
from limner import build
from limner.cli import main
from limner.errors import UserError
from limner.models.updown_captioner import UpDownCaptioner
from limner.weights import package
from published_captioners import WORDS


@pytest.fixture
def files(tmp_path):
    return published.write(tmp_path)


def words(folder, *more: str, to="package", infos: str | None = "infos_ID.pkl") -> list[str]:
    given = ["import", "ruotianluo", str(folder / "model.pth"), *more, "--to", str(folder / to)]
    return [*given, "--infos", str(folder / infos)] if infos else given


def refused(capsys, given) -> str:
    assert main(given) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_what_the_infos_tell(files, capsys):
    assert main(words(files)) == 0
    said = capsys.readouterr()
    assert "embedded regions of 6 numbers, their mean as the global vector" in said.out
    assert not said.err
    made = package.read(files / "package")
    assert made.vocab["words"] == ["a", "red", "dog", "cat", "on", "<unk>"]
    assert {made.sizes[f"dropout_{name}"] for name in ("words", "global", "regions", "output")} == {0.3}
    assert made.meta["config"]["decode"]["max_length"] == 12
    assert made.sizes["word_relu"] is True  # what training from it compares with its own
    assert made.meta["licence"] == "unknown"
    assert main(["load", str(files / "package")]) == 0


@pytest.mark.parametrize("protocol", range(6))
def test_infos_of_every_protocol(files, protocol):
    published.write(files, protocol=protocol)
    assert main(words(files)) == 0


@pytest.mark.parametrize(("batch_norm", "number"), [("before", 1), ("both", 2)])
def test_batch_norm(files, batch_norm, number):
    published.write(files, batch_norm=batch_norm, use_bn=number)
    main(words(files))
    assert package.read(files / "package").sizes["batch_norm"] == batch_norm


def test_box_geometry(files):
    """use_box: the last five of a region's numbers are its box, so the features have five fewer."""
    state = published.ruotianluo(feature_dim=11)
    torch.save(state, files / "model.pth")
    for told in (11, 6):  # the option is changed on the way to the model
        (files / "infos_ID.pkl").write_bytes(pickle.dumps(published.infos(use_box=1, att_feat_size=told), 2))
        main(words(files, to=f"package{told}"))
        made = package.read(files / f"package{told}")
        assert (made.sizes["geometry"], made.sizes["feature_dim"]) == (True, 6)
        assert made.meta["features"]["dim"] == 6
        assert made.sizes["global_source"] == "mean"


def test_global_vectors(files, capsys):
    """Their own size: given. The size of a region: the mean, with a note unless the options say whose they were."""
    published.write(files, input_fc_dir="data/cocotalk_fc")
    main(words(files))
    assert "taken for the mean of the regions (input_fc_dir=data/cocotalk_fc)" in capsys.readouterr().err
    main(words(files, "--global-source", "given", to="given"))
    assert not capsys.readouterr().err
    made = package.read(files / "given")
    assert (made.sizes["global_source"], made.sizes["global_dim"]) == ("given", 6)
    assert made.meta["features"]["global"] == {"dim": 6, "extractor": "unknown"}
    torch.save(published.ruotianluo(global_dim=2), files / "model.pth")
    (files / "infos_ID.pkl").write_bytes(pickle.dumps(published.infos(fc_feat_size=2), 2))
    main(words(files, to="own"))
    assert package.read(files / "own").sizes["global_dim"] == 2
    assert "so they were not their mean" in refused(capsys, words(files, "--global-source", "mean", to="mean"))


def test_a_vocabulary_alone(files):
    table = {str(number): word for number, word in enumerate(WORDS, start=1)}
    for name, content in {"cocotalk.json": {"ix_to_word": table, "images": []}, "bare.json": table}.items():
        (files / name).write_text(json.dumps(content))
        main(words(files, "--vocab", str(files / name), to=name[:4], infos=None))
        made = package.read(files / name[:4])
        assert made.vocab["words"][-1] == "<unk>"
        assert made.sizes["dropout_words"] == 0.5


def test_what_its_lightning_trainer_hides_among_the_weights(files):
    told, state = published.infos(), published.ruotianluo()
    for name in ("vocab", "opt"):
        state[f"_{name}"] = torch.tensor(list(pickle.dumps(told[name], 2)), dtype=torch.uint8)
    torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}, files / "model.pth")
    assert main(words(files, infos=None)) == 0
    assert main(words(files, to="told")) == 0
    a, b = package.read(files / "package"), package.read(files / "told")
    assert (a.sizes, a.vocab) == (b.sizes, b.vocab)
    assert a.sizes["dropout_words"] == 0.3


# --- what is refused ---


def test_options_that_the_shapes_deny_are_one_line(files, capsys):
    published.write(files, rnn_size=512, use_bn=2, att_feat_size=2048)
    line = refused(capsys, words(files))
    assert line.startswith(f"limner import: {files / 'infos_ID.pkl'}: ")
    for part in ("rnn_size=512, but the checkpoint has 3", "use_bn=2", "att_feat_size=2048, but the checkpoint has 6"):
        assert part in line
    assert not (files / "package").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"caption_model": "transformer"}, "caption_model=transformer: limner has updown and topdown"),
        ({"logit_layers": 2}, "logit_layers=2: expected 1"),
        ({"norm_att_feat": 1}, "norm_att_feat=1: expected 0"),
    ],
)
def test_options_of_other_models(files, capsys, options, said):
    published.write(files, **options)
    assert said in refused(capsys, words(files))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (published.infos(WORDS[1:], vocab_size=6), "infos_ID.pkl: 5 words, expected 6, as "),
        (published.infos(["a", *WORDS[:-1]]), "infos_ID.pkl: vocabulary: words stand twice: a"),
        ({"vocab": {"1": "a", "3": "b"}}, "infos_ID.pkl: ix_to_word: expected ids 1 to 2, missing 2"),
        ({"iter": 3}, "infos_ID.pkl: has no vocabulary"),
        ([1, 2], "infos_ID.pkl: has no vocabulary"),
        ({"vocab": {"1": "a"}, "opt": 3}, "infos_ID.pkl: opt holds a int, expected options by name"),
        ({"vocab": Evil()}, "infos_ID.pkl: is refused, a pickle may hold only plain"),
    ],
)
def test_infos_that_do_not_fit(files, capsys, content, said):
    (files / "infos_ID.pkl").write_bytes(pickle.dumps(content, 2))
    assert said in refused(capsys, words(files))
    assert not (files / "package").exists()


def test_nothing_says_the_words(files, capsys):
    assert "give --infos infos_ID.pkl, or --vocab cocotalk.json" in refused(capsys, words(files, infos=None))
    assert "nowhere.pkl: there is no such file" in refused(capsys, words(files, infos="nowhere.pkl"))
    assert "both were given" in refused(capsys, words(files, "--vocab", str(files / "infos_ID.pkl")))


def test_a_checkpoint_with_other_names(files, capsys):
    state = published.ruotianluo()
    del state["logit.bias"]
    state["ctx2att.weight"] = torch.zeros(5, 9)
    torch.save(state, files / "model.pth")
    line = refused(capsys, words(files))
    assert "model.pth: not a published Up-Down captioner checkpoint: missing: logit.bias; wrong shape: ctx2att" in line


def test_numbers_that_are_not_finite(files, capsys):
    state = published.ruotianluo()
    state["logit.bias"][1] = float("nan")
    torch.save(state, files / "model.pth")
    assert "word_layer.bias holds NaN or infinite numbers" in refused(capsys, words(files))


def test_training_from_it_wants_the_arguments_that_no_shape_shows(files):
    main(words(files))
    start = package.read(files / "package")
    sizes = {name: value for name, value in start.sizes.items() if name != "_target_"}
    config = OmegaConf.create({"weights": "package", "model": {"word_relu": False, "global_source": "mean"}})
    with pytest.raises(UserError, match=r"its model was made with model.word_relu=True \(here False\): set"):
        build.start_from(UpDownCaptioner(**sizes | {"word_relu": False}), start, config)
    config.model.word_relu = True
    model = UpDownCaptioner(**sizes)
    build.start_from(model, start, config)
    assert torch.equal(model.words.weight, start.model.words.weight)
