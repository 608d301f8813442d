"""Rows, masks and image inputs equal to the published code's on real dialogs, row by row."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from visdial_golden import golden, golden_split, real_split

from limner.data.dialog_encoding import DialogEncoder
from limner.data.dialog_masking import DIALOG, region_rule, word_rule
from limner.data.dialog_regions import with_whole_image
from limner.data.dialog_sampling import sequences
from limner.data.draws import Draws
from limner.data.features import FeatureWriter
from limner.data.vilbert_data import ViLBERTData
from limner.data.wordpiece import WordPiece


@pytest.fixture(scope="module")
def case(shared, tmp_path_factory):
    found = golden(shared)
    split = golden_split(found, tmp_path_factory.mktemp("golden"))
    return found, split, DialogEncoder(split, WordPiece(found["vocab"]))


def same(encoder, row, number, option):
    """A golden row is the row of an option."""
    rows = encoder.rows(np.array([number]), encoder.split.options_of(number)[[option]])
    tokens, segments = encoder.padded(rows)
    assert tokens[0].tolist() == row["tokens"]
    assert segments[0].tolist() == row["segments"]
    ends = np.flatnonzero(tokens[0] == encoder.words.sep)
    assert ends.tolist() == row["sep_indices"]
    assert row["hist_len"] == len(ends) - 1


def round_of(split, image, number):
    return int(split.first[np.flatnonzero(split.image_id == image)[0]]) + number - 1


def test_validation_rows(case):
    found, split, encoder = case
    count = 0
    for item in found["val"]:
        for row in item["rows"]:
            same(encoder, row, round_of(split, item["image_id"], row["round"]), row["original_option"])
            count += 1
    assert count == 800


def test_all_rows_by_their_sums(case):
    """20 x 10 x 100 rows of 256 tokens, the answer given moved to the front as published."""
    found, split, encoder = case
    weights = np.arange(1, 257)
    for dialog, item in enumerate(found["val"]):
        assert item["image_id"] == split.image_id[dialog]
        rounds = np.arange(split.first[dialog], split.first[dialog + 1])
        tokens, segments = encoder.padded(encoder.options(rounds)[0])  # the order of options does not change a sum
        assert (tokens * weights[: tokens.shape[1]]).sum() == item["token_checksum"]
        assert (segments * weights[: tokens.shape[1]]).sum() == item["segment_checksum"]


def test_test_rows(case):
    found, split, encoder = case
    for item in found["test"]:
        for row in item["rows"]:
            same(encoder, row, round_of(split, item["image_id"], item["round_id"]), row["option"])


def test_dense_rows(case):
    found, split, encoder = case
    for item in found["dense_train"]:
        number = round_of(split, item["image_id"], item["round_id"])
        assert number in split.dense
        assert split.gt_index[number] == item["gt_option"]
        order = [item["gt_option"], *(option for option in range(100) if option != item["gt_option"])]
        for row in item["rows"]:
            same(encoder, row, number, row["option"] if item["nsp_labels_zero_at"] != [0] else order[row["option"]])


def test_pruned_rows(case):
    """`visdial_tot_rounds` 4: the last four rounds, of which the caption counts as one."""
    found, split, encoder = case
    pruned = DialogEncoder(split, encoder.words, history=4)
    assert [row["round"] for row in found["val_tot_rounds_4"]] == list(range(1, 11))
    for row in found["val_tot_rounds_4"]:
        number = int(split.first[2]) + row["round"] - 1  # of the third dialog
        same(pruned, row, number, int(split.gt_index[number]))


def test_training_rows(case):
    """The answers given, and wrong candidates that are among the options."""
    found, split, encoder = case
    for item in found["train_mask0"]:
        dialog = int(np.flatnonzero(split.image_id == item["image_id"])[0])
        made = sequences(encoder, np.array([dialog]), Draws(1, 0))
        tokens, segments = encoder.padded(made.rows)
        assert made.label.tolist() == [row["label"] for row in item["rows"]]
        for place, row in enumerate(item["rows"]):
            number = round_of(split, item["image_id"], row["round"])
            assert made.round[place] == number
            if row["label"] == 0:
                length = made.rows.lengths[place]
                assert tokens[place, :length].tolist() == row["tokens"]
                assert segments[place, :length].tolist() == row["segments"]
            else:
                options, _ = encoder.padded(encoder.options(np.array([number]))[0])
                options = options.tolist()
                padded = row["tokens"] + [0] * (len(options[0]) - len(row["tokens"]))
                assert padded in options[: split.gt_index[number]] + options[split.gt_index[number] + 1 :]


def test_masked_words(case):
    """The published masking, given the numbers that Python drew there: one for each word, none for signs."""
    found = case[0]["encode_input_masking"]
    words = WordPiece(case[0]["vocab"])
    assert (words.cls, words.sep, words.mask) == (found["CLS"], found["SEP"], found["MASK"])
    tokens = [words.cls]
    for text in found["utterances"]:
        tokens += [*text, words.sep]
    rng = random.Random(found["python_random_seed"])
    chosen = [1.0 if token in (words.cls, words.sep) else rng.random() for token in tokens]
    behind = found["max_seq_len"] - len(tokens)
    masked = word_rule(
        np.array([tokens + [words.pad] * behind]),
        words,
        np.array([chosen + [0.0] * behind]),
        share=found["mask_prob"],
        kinds=DIALOG,
    )
    assert masked.tokens[0].tolist() == found["tokens"]
    assert masked.labels[0].tolist() == found["labels"]
    assert sum(label >= 0 for label in found["labels"]) > 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_images(shared, place):
    """Features, boxes and masks of images with 2, 40 and 3 boxes."""
    file = np.load(shared / "golden/visdial/image_encoding_lmdb3.npz")
    image = int(file["image_ids"][place])
    raw = {name.partition("/")[2]: file[name] for name in file.files if name.startswith(f"{image}/")}
    feats, boxes = torch.from_numpy(raw["features"][None, 1:]), torch.from_numpy(raw["boxes_ori"][None, 1:, :4])
    mask, size = torch.ones(feats.shape[:2], dtype=torch.bool), torch.from_numpy(raw["boxes_ori"][None, 0, 2:4])
    found = with_whole_image(feats, boxes.float(), mask, size)
    kept = min(int(raw["num_boxes"]), 37)
    assert found.mask[0].numpy().tolist() == raw["enc_mask"][:kept].astype(bool).tolist()
    assert np.array_equal(found.boxes[0].numpy(), raw["enc_loc"][:kept])
    assert np.array_equal(found.feats[0, 1:].numpy(), raw["features"][1:kept])
    assert np.allclose(found.feats[0, 0].numpy(), raw["features"][0], rtol=1e-6, atol=1e-6)
    assert np.allclose(found.feats[0].sum(1).numpy(), raw["enc_feat_sum"][:kept], rtol=1e-5)
    assert not raw["enc_mask"][kept:].any()


def test_region_classes(shared, tmp_path):
    """What is to be predicted of each region, the whole image too, by way of a store (float16)."""
    file = np.load(shared / "golden/visdial/image_encoding_lmdb3.npz")
    images = [int(image) for image in file["image_ids"]]
    with FeatureWriter(tmp_path / "a.h5", dim=2048, extractor="golden", classes=1601) as writer:
        for image in images:
            feats, boxes, probs = (file[f"{image}/{name}"] for name in ("features", "boxes_ori", "cls_prob"))
            size = (int(boxes[0, 2]), int(boxes[0, 3]))
            writer.add(image, feats[1:], boxes[1:, :4], size, class_probs=probs[1:])
    settings = {"features": [str(tmp_path / "a.h5")], "max_regions": 36, "mask_regions": 0.15, "region_targets": "auto"}
    made = ViLBERTData(**settings)
    assert made.predicts_classes
    for image in images:
        kept = min(int(file[f"{image}/num_boxes"]), 37)
        target = made.class_targets(np.array([image]), torch.ones(1, kept, dtype=torch.bool))
        np.testing.assert_allclose(target, file[f"{image}/cls_prob"][:kept], atol=3e-4)
        assert target.argmax(1).tolist() == file[f"{image}/enc_target_argmax"][:kept].tolist()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_masked_regions(shared, place):
    """The published masking, given the numbers that Python drew there; one region more may be padding there."""
    file = np.load(shared / "golden/visdial/image_encoding_lmdb3.npz")
    image = int(file["image_ids"][place])
    kept = min(int(file[f"{image}/num_boxes"]), 37)
    rng = random.Random(9)
    chosen = np.array([[rng.random() for _ in range(kept)] + [1.0] * (37 - kept)])
    extra = np.array([rng.randint(1, 36)])
    mask = (np.arange(37) < kept)[None]
    found = region_rule(mask, chosen, share=0.15, blank=0.9, extra=extra)
    label = file[f"{image}/enc_label_mask15_seed9"]
    assert found.predicted[0].tolist() == (label == 1).tolist()
    assert label[0] == 0
    zeros = file[f"{image}/enc_zeroed_rows_seed9"]
    assert found.blanked[0, :kept].tolist() == zeros[:kept].tolist()
    assert zeros[kept:].all()


def test_bert_vocabulary_gives_the_golden_parts(case, shared):
    """The golden vocabulary is a part of BERT's; with all of it every text has the same word parts."""
    _, split, encoder = case
    bert = WordPiece.load(shared / "data/bert_vocab/vocab.txt")
    assert (len(bert), bert.cls, bert.sep, bert.mask) == (30522, 101, 102, 103)
    for pool in (split.captions, split.questions, split.answers):
        for text in list(pool)[:3000]:
            small = [encoder.words.words[number] for number in encoder.words.encode(text)]
            assert [bert.words[number] for number in bert.encode(text)] == small


def test_no_real_dialog_is_dropped(shared, tmp_path):
    """97 dialogs, 97,000 rows: as long as the specification measured them, none too long; 128 tokens cost history."""
    split = real_split(shared)
    words = WordPiece.load(shared / "data/bert_vocab/vocab.txt")
    encoder = DialogEncoder(split, words, cache=tmp_path)
    rows, first = encoder.options(split.ranked)
    assert (len(split), len(rows.lengths), first[-1]) == (97, 97_000, 97_000)
    assert (encoder.shortened, encoder.cut) == (0, 0)
    assert rows.lengths.max() == 247
    assert rows.lengths.mean() == pytest.approx(76.46, abs=0.01)
    short = DialogEncoder(split, words, max_length=128, cache=tmp_path)
    less, _ = short.options(split.ranked)
    assert less.lengths.max() <= 128
    assert len(less.lengths) == 97_000
    assert short.cut == 0
    assert short.shortened == (rows.lengths.reshape(-1, 100).max(1) > 128).sum() > 100
