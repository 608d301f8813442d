"""Up-Down VQA: every option runs and trains, what must not matter does not, and wrong options say so."""

from __future__ import annotations

import pytest
import torch

from limner.errors import UserError
from limner.losses import soft_bce
from limner.models.updown_vqa import PAPER, PUBLISHED, UpDownVQA

SIZES = {"words": 9, "answers": 4, "feature_dim": 6, "embed_dim": 5, "hidden": 8, "classifier_hidden": 7}
SIZES |= {"image_answer_dim": 6, "question_length": 5}


def make(**options):
    torch.manual_seed(5)
    return UpDownVQA(**SIZES | options)


@pytest.fixture
def inputs():
    torch.manual_seed(6)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2:] = False
    tokens = torch.tensor([[1, 2, 9], [9, 9, 9], [1, 3, 4], [0, 9, 9], [1, 2, 9]])
    return torch.randn(3, 4, 6), mask, torch.tensor([0, 1, 1, 2, 1]), tokens


OPTIONS = [
    {},
    PUBLISHED | {"hidden": 8},
    PAPER | {"hidden": 8},
    {"attention": "mean"},
    {"attention": "none"},
    {"attention": "concat", "glimpses": 2, "dropout_attention": 0.5},
    {"attention": "product", "glimpses": 3, "activation": "elu"},
    {"encoder": "lstm", "layers": 2, "activation": "glu", "weight_norm": False},
    {"bidirectional": True, "classifier": "two_stream"},
    {"encode_padding": False, "normalize_features": True, "dropout_embedding": 0.3, "activation": "tanh"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items())[:60] or "default")
def test_every_option_runs_and_every_parameter_learns(options, inputs):
    model = make(**options)
    output = model(*inputs)
    assert output.logits.shape == (5, 4)
    assert output.attention.shape == (5, 4)
    soft_bce(output.logits, torch.rand(5, 4)).mean.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    shares = output.attention.sum(1)
    torch.testing.assert_close(shares, torch.zeros(5) if model.kind == "none" else torch.ones(5))
    assert not output.attention[~inputs[1][inputs[2]]].any()


@pytest.mark.parametrize("attention", ["product", "concat", "mean"])
def test_padded_regions_do_not_matter(attention, inputs):
    model = make(attention=attention).eval()
    feats, mask, image, tokens = inputs
    other = feats.masked_fill(~mask.unsqueeze(2), 100.0)
    wider = torch.cat((other, torch.full((3, 9, 6), -7.0)), dim=1)
    torch.testing.assert_close(model(feats, mask, image, tokens).logits, model(other, mask, image, tokens).logits)
    wide_mask = torch.cat((mask, torch.zeros(3, 9, dtype=torch.bool)), dim=1)
    torch.testing.assert_close(model(feats, mask, image, tokens).logits, model(wider, wide_mask, image, tokens).logits)


@pytest.mark.parametrize("attention", ["product", "concat", "mean", "none"])
def test_shared_images_are_the_same_as_copied_ones(attention, inputs):
    model = make(attention=attention).eval()
    feats, mask, image, tokens = inputs
    copied = model(feats[image], mask[image], torch.arange(len(image)), tokens)
    for ours, theirs in zip(model(*inputs), copied):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_encoding_distinct_questions_once(inputs):
    model = make().eval()
    distinct, row = torch.unique(inputs[3], dim=0, return_inverse=True)
    assert len(distinct) < len(row)
    once = model.answer(*inputs[:3], model.encode_questions(distinct)[row])
    torch.testing.assert_close(once.logits, model(*inputs).logits)


def test_half_precision_features_are_only_a_store(inputs):
    model = make().eval()
    half = inputs[0].half()
    assert torch.equal(model(half, *inputs[1:]).logits, model(half.float(), *inputs[1:]).logits)


@pytest.mark.parametrize("options", [{}, PAPER | {"hidden": 8}, {"attention": "mean"}])
def test_bfloat16_autocast_trains_and_is_close(options, inputs):
    model = make(**options | {"dropout_attention": 0.1})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        soft_bce(model(inputs[0].half(), *inputs[1:]).logits, torch.rand(5, 4)).mean.backward()
        assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())
        model.eval()
        rough = model(*inputs).logits
    torch.testing.assert_close(rough.float(), model(*inputs).logits, atol=0.03, rtol=0)


def test_question_only_needs_no_features(inputs):
    model = make(attention="none", feature_dim=0).eval()
    output = model(torch.zeros(3, 0, 0), torch.zeros(3, 0, dtype=torch.bool), *inputs[2:])
    assert output.logits.shape == (5, 4)
    assert output.attention.shape == (5, 0)


def test_init_words_and_answers():
    model = make(classifier="two_stream")
    words, text, image = torch.rand(9, 5), torch.rand(4, 5), torch.rand(4, 6)
    model.init_words(words)
    model.init_answers(text=text, image=image)
    torch.testing.assert_close(model.question.words.weight[:-1], words)
    assert not model.question.words.weight[-1].any()
    torch.testing.assert_close(model.classifier.text.output.weight, text)
    torch.testing.assert_close(model.classifier.image.output.weight, image)
    with pytest.raises(UserError, match=r"word vectors: found shape \(8, 5\), expected \(9, 5\)"):
        model.init_words(words[1:])
    with pytest.raises(UserError, match="two_stream"):
        make().init_answers(text=text)


def test_all_wrong_options_in_one_line():
    with pytest.raises(UserError) as error:
        make(attention="soft", classifier="big", hidden=0, dropout_classifier=1.0)
    line = str(error.value)
    assert "\n" not in line
    for part in (
        "attention='soft'",
        "product, concat, mean, none",
        "classifier='big'",
        "hidden=0",
        "dropout_classifier",
    ):
        assert part in line


def test_more_wrong_options():
    with pytest.raises(UserError, match=r"glimpses=2 \(attention=mean"):
        make(attention="mean", glimpses=2)
    with pytest.raises(UserError, match="feature_dim=0"):
        make(feature_dim=0)
    with pytest.raises(UserError, match="'swish'"):
        make(activation="swish")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", [{}, PAPER | {"hidden": 8}, {"encoder": "lstm", "layers": 2}])
def test_cuda_gives_the_same_answers_and_gradients(options, inputs):
    model = make(**options).eval()
    scores = torch.rand(5, 4)
    results = []
    for device in ("cpu", "cuda"):
        model.zero_grad()
        model.to(device).train()  # cuDNN has no backward in evaluation mode
        for module in model.modules():
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        output = model(*(x.to(device) for x in inputs))
        soft_bce(output.logits, scores.to(device)).mean.backward()
        results.append([output.logits.detach().cpu(), *(p.grad.cpu() for p in model.parameters())])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
