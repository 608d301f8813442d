"""Training that starts from a package of another vocabulary, in real processes."""

from __future__ import annotations

import re

from limner.weights import package


def test_training_goes_on_with_other_answers(limner, trained):
    """Rare answers are left out; the rest begins where the first training ended."""
    run = limner.folder / "run"
    given = [*limner.small(), f"weights={trained}", "data.min_answer_count=15", "trainer.max_epochs=1", "optim.lr=0"]
    done = limner("train", *given, "weights_vocabulary=remap", f"paths.run={run}")
    line = next(line for line in done.stdout.splitlines() if line.startswith(f"weights={trained}: "))
    old, new = package.read(trained / "package"), package.read(run / "package")
    kept = set(new.vocab["answers"]) & set(old.vocab["answers"])
    assert 0 < len(kept) < len(old.vocab["answers"])
    counts = [int(count) for count in re.search(r"answers: (\d+) -> (\d+), (\d+) carried over", line).groups()]
    assert counts == [len(old.vocab["answers"]), len(new.vocab["answers"]), len(kept)]
    rows = [[one.vocab["answers"].index(answer) for answer in sorted(kept)] for one in (old, new)]
    weights = [one.model.classifier.output.weight.detach() for one in (old, new)]
    assert (weights[0][rows[0]] - weights[1][rows[1]]).abs().max() < 1e-6
    assert new.meta["licence"] == "drawn by limner"
    done = limner("train", *limner.small(), "weights_vocabulary=remap", f"paths.run={run}2", expect=2)
    assert "weights_vocabulary=remap: there are no weights to carry over" in done.stderr
