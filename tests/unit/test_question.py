"""The question encoder: the trie and the packed way against the plain recurrent network over padded rows."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from limner.errors import UserError
from limner.models import question_trie
from limner.models.question import QuestionEncoder, left_pad

WORDS = 6
# empty, full, longer than the limit, equal questions, equal prefixes of equal and of other lengths
QUESTIONS = [[], [1, 2], [1, 2], [1, 3], [1, 2, 3], [5], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 0], [0, 1, 2, 4]]


def padded(questions=QUESTIONS, pad=WORDS):
    rows = torch.full((len(questions), max(map(len, questions))), pad)
    for row, question in zip(rows, questions):
        row[: len(question)] = torch.tensor(question, dtype=torch.int64)
    return rows


def make(**options):
    options = {"words": WORDS, "embed_dim": 3, "hidden": 4, "question_length": 5} | options
    encoder = QuestionEncoder(**options).double()
    return encoder.eval()


def plain(encoder, questions=QUESTIONS):
    """One question at a time, every position, pads included where the encoder reads them."""
    results = []
    for question in questions:
        row = question[: encoder.question_length]
        if encoder.encode_padding:
            row = [encoder.pad] * (encoder.question_length - len(row)) + row
        if not row:
            results.append(encoder.words.weight.new_zeros(encoder.outputs))
            continue
        state = encoder.rnn(encoder.words(torch.tensor([row])))[1]
        state = state[0] if isinstance(state, tuple) else state
        last = state[-2:] if encoder.rnn.bidirectional else state[-1:]
        results.append(torch.cat(tuple(last[:, 0])))
    return torch.stack(results)


def gradients(encoder, output):
    factor = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * factor).sum(), list(encoder.parameters()), retain_graph=True)


@pytest.mark.parametrize(
    ("encoder", "layers", "bidirectional", "encode_padding"),
    list(itertools.product(("gru", "lstm"), (1, 2), (False, True), (True, False))),
)
def test_every_way_is_the_plain_network(encoder, layers, bidirectional, encode_padding):
    model = make(encoder=encoder, layers=layers, bidirectional=bidirectional, encode_padding=encode_padding)
    want = plain(model)
    tokens = padded()
    cut = tokens[:, :5]
    ways = [model(tokens)]
    if not (bidirectional and encode_padding):
        ways.append(model._packed(cut, (cut != WORDS).sum(1)))
    for output in ways:
        assert output.shape == (len(QUESTIONS), model.outputs)
        torch.testing.assert_close(output, want, atol=1e-14, rtol=0)
        for ours, theirs in zip(gradients(model, output), gradients(model, want)):
            torch.testing.assert_close(ours, theirs, atol=1e-13, rtol=0)


def test_only_pads():
    model = make()
    chain = plain(model, [[]])
    torch.testing.assert_close(model(torch.full((2, 3), WORDS)), chain.expand(2, -1))
    torch.testing.assert_close(model(torch.zeros(2, 0, dtype=torch.int64)), chain.expand(2, -1))
    assert torch.equal(make(encode_padding=False)(torch.full((2, 3), WORDS)), torch.zeros(2, 4, dtype=torch.float64))


def test_empty_batch():
    assert make()(torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 4)


def test_more_padding_on_the_right_changes_nothing():
    model, tokens = make(), padded()
    wider = torch.cat((tokens, torch.full_like(tokens, WORDS)), dim=1)
    assert torch.equal(model(tokens), model(wider))


def test_pad_row_is_zero_and_gets_no_gradient():
    model = make()
    model(padded()).sum().backward()
    assert not model.words.weight[WORDS].any()
    assert not model.words.weight.grad[WORDS].any()
    assert model.words.weight.grad[1].any()


def test_embedding_dropout_leaves_pads_alone_and_is_off_in_evaluation():
    model = make(dropout=0.5)
    torch.testing.assert_close(model(padded()), plain(model), atol=1e-14, rtol=0)
    model.train()
    torch.testing.assert_close(model(padded())[0], plain(model, [[]])[0], atol=1e-14, rtol=0)
    assert not torch.equal(model(padded()), model(padded()))


def test_trie_has_each_prefix_once():
    rows = torch.tensor([[7, 1, 2], [7, 1, 3], [7, 1, 2], [1, 7, 0]])
    trie = question_trie.build(rows, torch.tensor([3, 3, 3, 2]))
    # depth 1: 1, 7; depth 2: 1-7, 7-1; depth 3: 7-1-2, 7-1-3
    assert trie.steps == [(0, 2), (2, 4), (4, 6)]
    assert trie.token.tolist() == [1, 7, 7, 1, 2, 3]
    assert trie.parent.tolist() == [0, 0, 1, 2, 4, 4]
    assert trie.leaf.tolist() == [5, 6, 5, 3]


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_gradcheck(kind):
    rows = torch.tensor([[4, 1, 2], [4, 1, 0], [4, 2, 2], [0, 0, 0]])
    trie = question_trie.build(rows, torch.full((4,), 3))
    distinct, row = torch.unique(trie.token, return_inverse=True)
    gates = 3 if kind == "gru" else 4
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    inputs = [random(len(distinct), gates * 2), random(gates * 2, 2)]
    if kind == "gru":
        inputs.append(random(2))
        assert torch.autograd.gradcheck(lambda x, w, b: question_trie.gru(x, row, w, b, trie, x.dtype), inputs)
    else:
        assert torch.autograd.gradcheck(lambda x, w: question_trie.lstm(x, row, w, trie, x.dtype), inputs)


def test_state_dict_has_the_names_of_torch():
    names = {name for name, _ in nn.GRU(3, 4, 2).named_parameters()}
    assert set(make(layers=2).state_dict()) == {f"rnn.{name}" for name in names} | {"words.weight"}


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_bfloat16_autocast_is_close(kind):
    model = QuestionEncoder(words=WORDS, embed_dim=8, hidden=16, encoder=kind)
    exact = model(padded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(padded())
        loss = rough.float().pow(2).sum()
    torch.testing.assert_close(rough.float(), exact, atol=0.02, rtol=0)
    got = torch.autograd.grad(loss, list(model.parameters()))
    want = torch.autograd.grad(exact.pow(2).sum(), list(model.parameters()))
    for ours, theirs in zip(got, want):
        torch.testing.assert_close(ours, theirs, atol=0.05 * float(theirs.abs().max()), rtol=0)


def test_left_pad():
    rows = torch.tensor([[1, 2, 9], [3, 9, 9], [9, 9, 9]])
    assert left_pad(rows, torch.tensor([2, 1, 0]), 4, 9).tolist() == [[9, 9, 1, 2], [9, 9, 9, 3], [9, 9, 9, 9]]


def test_unknown_encoder():
    with pytest.raises(UserError, match=r"encoder='rnn'.*gru, lstm"):
        QuestionEncoder(words=3, encoder="rnn")
