"""Another vocabulary: for shared words nothing changes, new ones begin anew, and a line says how many."""

from __future__ import annotations

import json

import pytest
import torch
from small_packages import captioner, dialogs
from small_vqa import package as vqa

from limner import cli
from limner.errors import UserError
from limner.weights import package
from limner.weights.remap import remap

CAPTION_WORDS = ["square", "zebra", "<unk>", "a", "circle", "of", "red"]  # without blue; two new ones
QUESTION_WORDS = ["colour", "dog", "it", "is", "what", "how"]  # without red
ANSWERS = ["3", "blue", "yes", "red", "maybe", "2"]  # without no


def places(words, lists):
    return torch.tensor([lists.index(word) for word in words])


@pytest.mark.parametrize("options", [{}, {"regions": "raw", "attention_bias": False, "dropout_global": 0.0,
                                          "dropout_regions": 0.0}])  # fmt: skip
def test_captions_of_shared_words(options):
    old = captioner(**options)
    new, told = remap(old, {"words": CAPTION_WORDS})
    assert told == ["words: 6 -> 7, 5 carried over, 2 begin anew, 1 left out"]
    assert new.sizes["words"] == new.model.eos == 7
    shared = ["a", "red", "circle", "<unk>", "square"]
    feats, mask = torch.randn(2, 3, 6), torch.tensor([[True] * 3, [True] * 2 + [False]])
    found = []
    for one in (old, new):
        own = one.vocab["words"]
        outputs = torch.cat((places(shared, own), torch.tensor([len(own)])))  # the end, too
        state, steps = one.model.begin(feats, mask), []
        for word in (None, *shared):
            token = one.model.bos if word is None else own.index(word)
            step = one.model.step(torch.full((2,), token), state)
            state = step.state
            steps.append(step.logits[:, outputs])
        found.append(torch.stack(steps))
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "options", [{}, {"weight_norm": False}, {"classifier": "two_stream", "image_answer_dim": 3}], ids=str
)
def test_answers_to_questions_of_shared_words(options):
    old = vqa(**options)
    new, told = remap(old, {"words": QUESTION_WORDS, "answers": ANSWERS})
    assert told == [
        "words: 5 -> 6, 4 carried over, 2 begin anew, 1 left out",
        "answers: 4 -> 6, 3 carried over, 3 begin anew, 1 left out",
    ]
    feats, mask, image = torch.randn(1, 3, 6), torch.ones(1, 3, dtype=torch.bool), torch.zeros(2, dtype=torch.long)
    shared = ["yes", "red", "blue"]
    found = []
    for one in (old, new):
        own = one.vocab["words"]
        long, short = (places(words, own) for words in (["what", "colour", "is", "it"], ["is"]))
        tokens = torch.stack((long, torch.cat((short, torch.full((3,), len(own))))))
        logits, attention = one.model(feats, mask, image, tokens)
        found.append((logits[:, places(shared, one.vocab["answers"])], attention))
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-6)


def test_dialogs_of_shared_parts():
    old = dialogs()
    words = [*reversed(old.vocab["words"]), "zebra"]
    new, told = remap(old, {"words": words, "frequent_answers": ["yes"]})
    assert told == [f"words: {len(words) - 1} -> {len(words)}, {len(words) - 1} carried over, 1 begin anew, 0 left out"]
    assert new.vocab["frequent_answers"] == ["yes"]
    tokens = torch.tensor([[1, 7, 8, 9, 2]])
    moved = places([old.vocab["words"][token] for token in tokens[0]], words)[None]
    more = torch.zeros_like(tokens), torch.ones_like(tokens, dtype=torch.bool)
    image = torch.randn(1, 3, 6), torch.rand(1, 3, 5), torch.ones(1, 3, dtype=torch.bool)
    a, b = (one.model(t, *more, *image, words_at=more[1]) for one, t in ((old, tokens), (new, moved)))
    torch.testing.assert_close(b.alignment, a.alignment, atol=1e-6, rtol=0)
    torch.testing.assert_close(b.words[:, places(old.vocab["words"], words)], a.words, atol=1e-5, rtol=0)


def test_new_rows_are_those_that_are_given():
    """Also as effective weights under weight normalisation, whose one scale all rows share."""
    old, fresh = vqa(), vqa(seed=5, words=6, answers=6)
    new, _ = remap(old, {"words": QUESTION_WORDS, "answers": ANSWERS}, fresh=fresh.model.state_dict())
    anew = places(["3", "maybe", "2"], ANSWERS)
    torch.testing.assert_close(new.model.classifier.output.weight[anew], fresh.model.classifier.output.weight[anew])
    torch.testing.assert_close(new.model.classifier.output.bias[anew], fresh.model.classifier.output.bias[anew])
    anew = places(["dog", "how"], QUESTION_WORDS)
    assert torch.equal(new.model.question.words.weight[anew], fresh.model.question.words.weight[anew])
    kept = places(["colour", "it"], QUESTION_WORDS)
    assert torch.equal(new.model.question.words.weight[kept], old.model.question.words.weight[[4, 1]])
    assert torch.equal(new.model.question.words.weight[-1], old.model.question.words.weight[-1])  # the padding


def test_the_package_stays_as_it_is():
    old = vqa()
    before = {name: tensor.clone() for name, tensor in old.model.state_dict().items()}
    new, told = remap(old, {"words": old.vocab["words"]})
    assert not told
    assert new.meta["metrics"] == {}
    assert old.meta["metrics"]
    after, same = old.model.state_dict(), new.model.state_dict()
    assert all(torch.equal(before[name], after[name]) and torch.equal(before[name], same[name]) for name in before)


@pytest.mark.parametrize(
    ("vocab", "said"),
    [
        ({"words": ["x", "y"]}, "none of the 2 new words is one of the 5 old ones"),
        ({"words": ["is", "is"]}, "words stand twice in the new one"),
        ({"colours": ["red"]}, "UpDownVQA has rows for words and answers, found colours"),
    ],
)
def test_vocabularies_that_cannot_be(vocab, said):
    with pytest.raises(UserError, match=said):
        remap(vqa(), vocab)


# --- the command ---


@pytest.fixture
def folder(tmp_path):
    package.save(tmp_path / "old", captioner())
    (tmp_path / "vocab.json").write_text(json.dumps({"words": CAPTION_WORDS}))
    return tmp_path


def words(folder, *more, vocab="vocab.json", to="new") -> list[str]:
    return ["remap", str(folder / "old"), "--vocab", str(folder / vocab), "--to", str(folder / to), *more]


def test_the_command(folder, capsys):
    assert cli.main(words(folder)) == 0
    assert f"{folder}/new: words: 6 -> 7, 5 carried over, 2 begin anew, 1 left out" in capsys.readouterr().out
    assert cli.main(["load", str(folder / "new")]) == 0
    made = package.read(folder / "new")
    assert made.vocab == {"words": CAPTION_WORDS}
    assert made.meta["remapped"]["from"] == "old"
    (folder / "list.json").write_text(json.dumps(CAPTION_WORDS))
    cli.main(words(folder, vocab="list.json", to="again"))
    cli.main(words(folder, "--seed", "2", vocab="new", to="other"))
    again, other = (package.read(folder / name).model.state_dict()["words.weight"] for name in ("again", "other"))
    mine = made.model.state_dict()["words.weight"]
    assert torch.equal(mine, again)
    drawn = places(["zebra", "of"], CAPTION_WORDS)
    assert sorted(set((mine != other).any(1).nonzero()[:, 0].tolist())) == sorted(drawn.tolist())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "vocab.json: is not JSON"),
        ("[]", "vocab.json: expected lists of words by name"),
        ('{"words": ["x"]}', "vocab.json: vocabulary: none of the 1 new words"),
    ],
)
def test_files_that_cannot_be(folder, capsys, content, said):
    (folder / "vocab.json").write_text(content)
    assert cli.main(words(folder)) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "new").exists()
    (folder / "other.json").write_text('{"words": [1]}')
    assert cli.main(words(folder, vocab="other.json")) == 2
    assert "other.json: expected a list of words" in capsys.readouterr().err


def test_word_parts_without_their_signs(folder, capsys):
    package.save(folder / "dialogs", dialogs())
    (folder / "vocab.json").write_text(json.dumps({"words": dialogs().vocab["words"][3:]}))
    given = [str(folder / name) for name in ("dialogs", "vocab.json", "n")]
    assert cli.main(["remap", given[0], "--vocab", given[1], "--to", given[2]]) == 2
    assert "expected BERT's five signs" in capsys.readouterr().err
    assert not (folder / "n").exists()


def test_an_existing_folder_is_left_alone(folder, capsys):
    assert cli.main(words(folder, to="old")) == 2
    assert "is there already" in capsys.readouterr().err
