"""Published captioners come in whole, or one error says everything that is wrong with them."""

from __future__ import annotations

import pytest
import torch

from limner.errors import UserError
from limner.models.updown_captioner import UpDownCaptioner
from limner.weights import names
from limner.weights.caption_importer import convert_rt_captioner, rt_captioner_sizes, rt_words

SIZES = {"rows": 7, "embed_dim": 4, "hidden": 3, "attention_hidden": 5, "feature_dim": 6, "global_dim": 6}


def published(batch_norm: str = "none", **sizes: int) -> dict[str, torch.Tensor]:
    """A checkpoint with random weights, by the names and shapes of the original code."""
    torch.manual_seed(2)
    sizes = SIZES | sizes

    def size(symbol: str) -> int:
        if "+" in symbol:
            return sum(map(size, symbol.split("+")))
        if "*" in symbol:
            return int(symbol[0]) * size(symbol[2:])
        return int(symbol) if symbol.isdigit() else sizes[symbol]

    return {
        f"{prefix}.{leaf}": torch.rand([size(symbol) for symbol in shape])
        for prefix, entry in names.RT_CAPTIONER[batch_norm].items()
        for leaf, shape in entry.leaves.items()
    }


@pytest.mark.parametrize("batch_norm", ["none", "before", "both"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_fits_the_model_of_its_sizes(batch_norm, prefix):
    state = {prefix + name: value for name, value in published(batch_norm).items()}
    sizes = rt_captioner_sizes(state)
    assert sizes == {
        "words": 6,
        "embed_dim": 4,
        "hidden": 3,
        "attention_hidden": 5,
        "feature_dim": 6,
        "global_dim": 0,
        "global_source": "mean",
        "batch_norm": batch_norm,
        "geometry": False,
    }
    UpDownCaptioner(**sizes).load_state_dict(convert_rt_captioner(state))


def test_pickled_options_are_left_alone():
    """Its Lightning trainer keeps them as bytes among the weights."""
    state = published() | {"_vocab": torch.zeros(3, dtype=torch.uint8), "_opt": torch.zeros(9, dtype=torch.uint8)}
    UpDownCaptioner(**rt_captioner_sizes(state)).load_state_dict(convert_rt_captioner(state))


def test_word_rows_move():
    """Their row 0 is start and end; it becomes our end and our start, and in the word layer our end."""
    state = published()
    ours = convert_rt_captioner(state)
    theirs = state["embed.0.weight"]
    assert torch.equal(ours["words.weight"][:6], theirs[1:])
    assert torch.equal(ours["words.weight"][6:], theirs[[0, 0]])
    assert torch.equal(ours["word_layer.weight"], state["logit.weight"][[1, 2, 3, 4, 5, 6, 0]])
    assert torch.equal(ours["word_layer.bias"], state["logit.bias"][[1, 2, 3, 4, 5, 6, 0]])


def test_global_vectors_of_another_size_were_given():
    state = published(global_dim=2)
    sizes = rt_captioner_sizes(state)
    assert (sizes["global_source"], sizes["global_dim"]) == ("given", 2)
    UpDownCaptioner(**sizes).load_state_dict(convert_rt_captioner(state))
    with pytest.raises(UserError, match="2 numbers and its regions 6"):
        rt_captioner_sizes(state, global_source="mean")
    assert rt_captioner_sizes(published(), global_source="given")["global_dim"] == 6


def test_everything_wrong_is_one_line():
    state = published()
    del state["logit.bias"], state["core.att_lstm.bias_hh"]
    state["ctx2att.weight"] = torch.zeros(5, 9)
    state["logit.0.weight"] = torch.zeros(1)
    with pytest.raises(UserError) as error:
        convert_rt_captioner(state)
    message = str(error.value)
    assert message.startswith("not a published Up-Down captioner checkpoint: ")
    assert "\n" not in message
    for part in ("missing: core.att_lstm.bias_hh, logit.bias", "unknown: logit.0.weight", "ctx2att.weight is [5, 9]"):
        assert part in message


def test_their_words_in_our_ids():
    assert rt_words({"2": "cat", "1": "a", "3": "UNK"}) == ("a", "cat", "<unk>")
    with pytest.raises(UserError, match="ids 1 to 2, missing 2"):
        rt_words({"1": "a", "3": "b"})
