"""Rankings made into one, and the commands that fuse and score ranks files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_visdial import content, judged, write

from limner.cli import main
from limner.data.visdial_files import load_split
from limner.metrics.rank_fusion import keep_first, mean_ranks
from limner.metrics.visdial import DialogMetrics, ranks


def test_keep_first_by_hand():
    first, rest = np.array([4, 1, 2, 3, 5]), np.array([1, 4, 3, 2, 5])
    assert keep_first(first, rest).tolist() == [2, 1, 4, 3, 5]
    assert keep_first(rest, rest).tolist() == rest.tolist()


def test_mean_ranks_by_hand():
    a, b, c = np.array([1, 2, 3, 4]), np.array([4, 1, 3, 2]), np.array([2, 1, 4, 3])
    assert mean_ranks([a, b, c]).tolist() == [2, 1, 4, 3]  # sums 7, 4, 10, 9
    assert mean_ranks([a, np.array([2, 1, 4, 3])]).tolist() == [1, 2, 3, 4]  # ties as in the first
    assert mean_ranks([np.array([2, 1, 4, 3]), a]).tolist() == [2, 1, 4, 3]
    assert mean_ranks([b]).tolist() == b.tolist()


def test_of_many_rounds():
    """Round by round as the definition says; always permutations."""
    rng = np.random.default_rng(0)
    given = [rng.permuted(np.broadcast_to(np.arange(1, 101), (7, 10, 100)), axis=-1) for _ in range(3)]
    kept, mean = keep_first(given[0], given[1]), mean_ranks(given)
    assert (np.sort(kept, -1) == np.arange(1, 101)).all()
    assert (np.sort(mean, -1) == np.arange(1, 101)).all()
    for at in np.ndindex(7, 10):
        best = int(given[0][at].argmin())
        others = [option for option in np.argsort(given[1][at]).tolist() if option != best]
        assert np.argsort(kept[at]).tolist() == [best, *others]
        order = sorted(range(100), key=lambda option: (sum(one[at][option] for one in given), given[0][at][option]))
        assert np.argsort(mean[at]).tolist() == order


# --- files ---


@pytest.fixture
def files(tmp_path):
    """`val.json`, `dense.json`, and random ranks `a.json`, `b.json`, `c.json`."""
    file = content(2, dialogs=3)
    write(tmp_path / "val.json", file)
    write(tmp_path / "dense.json", judged(file))
    for seed, name in enumerate("abc"):
        write(tmp_path / f"{name}.json", rows(tmp_path, seed))
    return tmp_path


def rows(folder, seed):
    split, rng = load_split(folder / "val.json"), np.random.default_rng(seed)
    return [
        {
            "image_id": int(split.image_id[split.dialog[n]]),
            "round_id": int(split.round_id[n]),
            "ranks": ranks(rng.normal(size=5)).tolist(),
        }
        for n in split.ranked.tolist()
    ]


def fuse(folder, *names, more=()):
    return main(["submission", "fuse", *(str(folder / f"{name}.json") for name in names), *more,
                 "--out", str(folder / "out.json")])  # fmt: skip


def read(folder, name="out"):
    return json.loads((folder / f"{name}.json").read_text())


def of(folder, name):
    return [np.array(row["ranks"]) for row in read(folder, name)]


def test_the_mean_of_three(files, capsys):
    assert fuse(files, "a", "b", "c") == 0
    told = f"{files / 'out.json'}: ranks of 9 rounds: the options as in "
    assert capsys.readouterr().out.startswith(told)
    for a, b, c, made in zip(*(of(files, name) for name in ("a", "b", "c", "out"))):
        assert made.tolist() == mean_ranks([a, b, c]).tolist()
    assert main(["submission", "check", str(files / "out.json"), str(files / "val.json")]) == 0


def test_the_first_of_one_and_the_rest_of_another(files, capsys):
    write(files / "b.json", read(files, "b")[::-1])  # in any order
    assert fuse(files, "a", "b", more=["--keep-first"]) == 0
    assert "ranks of 9 rounds: the best option of " in capsys.readouterr().out
    for a, b, made in zip(of(files, "a"), of(files, "b")[::-1], of(files, "out")):
        assert made.tolist() == keep_first(a, b).tolist()
    assert [(row["image_id"], row["round_id"]) for row in read(files)] == [
        (row["image_id"], row["round_id"]) for row in read(files, "a")
    ]
    fuse(files, "a", "b", "c", more=["--keep-first"])
    for a, b, c, made in zip(of(files, "a"), of(files, "b")[::-1], of(files, "c"), of(files, "out")):
        assert made.tolist() == keep_first(a, mean_ranks([b, c])).tolist()


def test_the_score_of_a_file(files, capsys):
    given = ["submission", "score", str(files / "a.json"), str(files / "val.json")]
    assert main([*given, "--dense", str(files / "dense.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    corpus = DialogMetrics(load_split(files / "val.json", files / "dense.json")).score(rows(files, 0)).corpus
    assert lines[0].split()[:2] == ["NDCG", f"{corpus['ndcg']:.2f}"]
    assert lines[1].split()[:2] == ["MRR", f"{corpus['mrr']:.2f}"]
    assert main(given) == 0
    assert capsys.readouterr().out.startswith("MRR")


def test_what_cannot_be_fused(files, capsys):
    def line(*names) -> str:
        assert fuse(files, *names) == 2
        assert not (files / "out.json").exists()
        found = capsys.readouterr().err
        assert found.count("\n") == 1
        return found

    assert "found 1 file, expected two or more" in line("a")
    assert "nowhere.json: no such file" in line("a", "nowhere")
    write(files / "short.json", read(files, "b")[:-1])
    assert "short.json: ranks other rounds than " in line("a", "short")
    assert "a.json: ranks other rounds than " in line("short", "a")
    fewer = read(files, "b")
    fewer[4]["ranks"] = [2, 1]
    write(files / "fewer.json", fewer)
    assert "fewer.json: ranks other options than " in line("a", "fewer")
    fewer[4]["ranks"] = [2, 2]
    write(files / "twice.json", fewer)
    assert "ranks are 2 numbers, 2 twice, expected each of 1 to 2 once" in line("a", "twice")


def test_what_cannot_be_scored(files, capsys):
    write(files / "short.json", read(files, "b")[:-1])
    assert main(["submission", "score", str(files / "short.json"), str(files / "val.json")]) == 2
    assert "short.json: no ranks of 1 of 9 rounds" in capsys.readouterr().err
    write(files / "test.json", content(2, dialogs=3, split="test"))
    assert main(["submission", "score", str(files / "a.json"), str(files / "test.json")]) == 2
    assert "the split tells no answers" in capsys.readouterr().err
