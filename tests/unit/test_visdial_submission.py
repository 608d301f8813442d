"""EvalAI's ranks files: what the writer makes passes the checker, and each fault has its own line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_visdial import content, write

from limner.cli import main
from limner.data.visdial_files import load_split
from limner.errors import UserError
from limner.submit_visdial import check_dialog_file, check_visdial_submission, write_visdial_submission


@pytest.fixture(params=["val", "test"])
def references(request, tmp_path):
    return write(tmp_path / "dialogs.json", content(2, dialogs=3, split=request.param))


def rows_of(path):
    split, rng = load_split(path), np.random.default_rng(0)
    return [
        {
            "id": n,
            "image_id": split.image_id[split.dialog[n]],
            "round_id": split.round_id[n],
            "ranks": rng.permutation(5) + 1,
            "scores": [0.5] * 5,
        }
        for n in split.ranked.tolist()
    ]


def test_what_is_written_passes(tmp_path, references, capsys):
    path, rows = tmp_path / "new" / "ranks.json", rows_of(references)
    assert write_visdial_submission(path, rows) == len(rows)
    told = json.loads(path.read_text())
    assert [sorted(record) for record in told] == [["image_id", "ranks", "round_id"]] * len(rows)
    assert [record["ranks"] for record in told] == [row["ranks"].tolist() for row in rows]
    assert check_visdial_submission(path, load_split(references)) == len(rows)
    assert len(rows) in (3, 9)
    assert main(["submission", "check", str(path), str(references)]) == 0
    assert capsys.readouterr().out == f"{path}: good: ranks of {len(rows)} rounds of 3 dialogs\n"
    path.write_text(json.dumps(told[::-1], indent=2))
    assert check_dialog_file(path, references).startswith(f"{path}: good: ")


def good(number, **other):
    return {"image_id": 100 + 7 * number, "round_id": 1, "ranks": [3, 1, 2, 5, 4], **other}


ROW_FAULTS = [
    ([good(0, image_id="100")], "record 0: image_id is '100', expected a whole number"),
    ([good(0, round_id=1.0)], r"record 0: round_id is 1\.0, expected a whole number"),
    ([good(0, ranks=[1, 2, 2, 4, 5])], "image 100 round 1: ranks are 5 numbers, 2 twice, expected each of 1 to 5 once"),
    ([good(0, ranks=[0, 1, 2, 3, 4])], "ranks are 5 numbers, 0 among them, expected each of 1 to 5 once"),
    ([good(0, ranks=[1.0, 2, 3, 4, 5])], r"ranks are \[1\.0, 2, 3, 4, 5\], expected each of 1 to 5 once"),
    ([good(0, ranks=[])], r"ranks are \[\], expected each of 1 to 100 once"),
    ([good(0, ranks="12345")], "ranks are '12345', expected each of 1 to 100 once"),
    ([good(1), good(0), good(1)], "stand twice: image 107 round 1; expected each round once"),
    ([], "holds no ranks, expected some for each round"),
]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        *ROW_FAULTS,
        (
            [{"image_id": 1, "ranks": [1]}],
            r"record 0 is \{'image_id': 1, 'ranks': \[1\]\}, expected \{\"image_id\": 1, ",
        ),
        ([7], "record 0 is 7, expected"),
        ([good(0, round_id=4)], "ranks rounds that the split does not ask for: image 100 round 4$"),
        (
            [good(n) for n in range(3)],
            r"no ranks of 6 of 9 rounds: image 100 round 2, image 100 round 3, .* and 1 more",
        ),
        ({"data": []}, r"starts with '\{', expected '\['"),
    ],
)
def test_checker_refuses(tmp_path, records, message):
    split = load_split(write(tmp_path / "dialogs.json", content(2, dialogs=3)))
    path = write(tmp_path / "ranks.json", records)
    with pytest.raises(UserError, match=message) as caught:
        check_visdial_submission(path, split)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_option_has_a_rank(tmp_path):
    references = write(tmp_path / "dialogs.json", content(2, dialogs=1, rounds=1))
    path = write(tmp_path / "ranks.json", [good(0, ranks=[2, 1, 3])])
    with pytest.raises(UserError, match="has 3 ranks for 5 options: image 100 round 1; rank every option"):
        check_dialog_file(path, references)


def test_a_test_split_wants_the_last_round_only(tmp_path):
    references = write(tmp_path / "dialogs.json", content(2, dialogs=3, rounds=4, split="test"))
    split = load_split(references)
    dialog = int(np.flatnonzero(np.diff(split.first) > 1)[0])
    extra = {**rows_of(references)[dialog], "round_id": 1}
    write_visdial_submission(tmp_path / "ranks.json", [*rows_of(references), extra])
    with pytest.raises(UserError, match=r"of a test split only the last round of each dialog is ranked\)$"):
        check_dialog_file(tmp_path / "ranks.json", references)


@pytest.mark.parametrize(("records", "message"), ROW_FAULTS)
def test_writer_refuses_and_writes_nothing(tmp_path, records, message):
    with pytest.raises(UserError, match=message):
        write_visdial_submission(tmp_path / "ranks.json", records)
    assert list(tmp_path.iterdir()) == []


def test_command_line_faults(tmp_path, capsys):
    references = write(tmp_path / "dialogs.json", content(2, dialogs=1, rounds=1))
    path = write(tmp_path / "ranks.json", [good(5)])
    assert main(["submission", "check", str(path), str(references)]) == 2
    told = f"limner submission: {path}: ranks rounds that {references} does not ask for: image 135 round 1\n"
    assert capsys.readouterr().err == told
    assert main(["submission", "check", str(path), str(references), "--split", "val"]) == 2
    assert "--split" in capsys.readouterr().err
