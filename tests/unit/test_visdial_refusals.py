"""What `limner train experiment=visdial...` refuses: one line, exit code 2, before anything is trained."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import h5py
import pytest
from tiny_captions import write_store
from tiny_dialog_data import data, make_files
from tiny_visdial import write

from limner import cli
from limner.errors import UserError

SMALL = [
    "logger=files",
    "trainer=cpu",
    "trainer.threads=1",
    "data.vocabulary=null",
    "data.words_from=[train]",
    "data.cache=cache",
    "data.dense_options=3",
    "data.batch_size=6",
    "data.features=[regions.h5]",
    *(f"data.dialogs.{split}={split}.json" for split in ("train", "val")),
    *(f"data.dense.{split}={split}_dense.json" for split in ("train", "val")),
    *(f"model.{stream}_{size}" for stream in ("text", "image") for size in ("hidden=8", "heads=2", "ffn=8")),
    *(f"model.{stream}_layers=1" for stream in ("text", "image")),
    *(f"model.{stream}_connections=[1]" for stream in ("text", "image")),
    "model.joint_hidden=8",
    "model.joint_heads=2",
]


def changed(name: str, change) -> Path:
    """`train.json` with its dialogs changed, as another file."""
    file = json.loads(Path("train.json").read_text())
    change(file["data"]["dialogs"])
    return write(Path(name), file)


def no_answers(dialogs):
    for said in dialogs[1]["dialog"]:
        del said["gt_index"]


def no_last_answer(dialogs):
    for dialog in dialogs:
        del dialog["dialog"][-1]["gt_index"]


def fewer_options(dialogs):
    for said in dialogs[0]["dialog"]:
        said |= {"answer_options": said["answer_options"][:4], "answer": said["answer_options"][0], "gt_index": 0}


def judged_last(options: int):
    """Relevances of the last round of the first two dialogs; of the first one's `options`."""
    chosen = json.loads(Path("train.json").read_text())["data"]["dialogs"][:2]
    return [
        {"image_id": dialog["image_id"], "round_id": 3, "relevance": [1.0] * count}
        for dialog, count in zip(chosen, (options, 5))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny files, and some that are wrong."""
    folder = make_files(tmp_path_factory.mktemp("dialogs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_store(folder / "few.h5", {100: 2, 107: 1})
        shutil.copy("regions.h5", "unsized.h5")
        with h5py.File("unsized.h5", "a") as file:
            file["size"][:] = 0  # as it is in features that were converted from files without sizes
        Path("cut.json").write_text('{"data": {"questions"')
        changed("no_answers.json", no_answers)
        changed("no_last_answer.json", no_last_answer)
        changed("fewer_options.json", fewer_options)
        write(Path("last_dense.json"), judged_last(5))
        write(Path("fewer_dense.json"), judged_last(4))
        write(Path("other_dense.json"), [{**one, "image_id": one["image_id"] + 1000} for one in judged_last(5)])
    return folder


# what is typed -> what the line must say; each is found out at another place
TYPED = {
    "experiment=visdial paths.data=no data.features=[regions.h5]": [
        "data.dialogs.train: there is no file no/visdial/visdial_1.0_train.json (and 3 more files); "
        "fetch it with: limner data get visdial --to no/visdial"
    ],
    "experiment=visdial data.features=[] model.positions=100": [
        "data.features is empty but model.fusion=mul needs an image",
        "data.max_length=256 but model.positions=100",
    ],
    "experiment=visdial data.dialogs.train=cut.json": ["cut.json: invalid JSON at line 1", "the file ends too early"],
    "experiment=visdial data.features=[few.h5]": ["few.h5: no features for 3 of 5 images (ids 114, 121, 128)"],
    "experiment=visdial data.dialogs.train=no_answers.json": [
        "data.fit: no round of the dialogs of images 107 has a known answer (gt_index): leave them out"
    ],
    "experiment=visdial_dense ~data.dense.val": ["task.main=ndcg, but data.dense.val judges no round"],
    "experiment=visdial_dense_nsp data.dialogs.train=no_last_answer.json data.dense.train=last_dense.json "
    "data.dense_options=null": ["task.stage=dense_nsp, but judged rounds of data.fit have no known answer"],
}


@pytest.mark.parametrize("typed", TYPED)
def test_one_line_for_what_is_typed(capsys, folder, tmp_path, monkeypatch, typed):
    monkeypatch.chdir(folder)
    more = typed.split()
    words = [word for word in SMALL if "paths.data=no" not in typed or "data." not in word]
    assert cli.main(["train", more[0], *words, f"paths.run={tmp_path / 'run'}", *more[1:]]) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("limner train: ")
    for said in TYPED[typed]:
        assert said in lines[0]
    assert "epoch" not in printed.out  # nothing was trained


# settings of the data -> what the line must say, before the first batch is drawn
GIVEN = {
    "unsized.h5: does not know the width and height of images 100, 107, 114, 121, 128;": {"features": ["unsized.h5"]},
    "few.h5: no features for 3 of 5 images": {"features": ["few.h5"]},
    "train_dense.json: dialogs[0]: field 'dialog' is missing": {"dialogs": {"train": "train_dense.json"}, "dense": {}},
    "data.select=train: its file hides answers": {"dialogs": {"train": "no_answers.json"}, "select": "train"},
    "none of its 2 images is in train.json": {"dense": {"train": "other_dense.json"}},
    "train.json: starts with '{', expected '['": {"dense": {"train": "train.json"}},
    "data.dense has no judged rounds of data.fit=[train]": {"dense": {"val": "val_dense.json"}},
    "data.dense_options=6, but judged rounds of images 100, 107, 114 have fewer options": {"dense_options": 6},
    "data.dense_options=3, but judged rounds of images 100, 107 have no known answer: give another number, or null": {
        "dialogs": {"train": "no_last_answer.json"}, "dense": {"train": "last_dense.json"}
    },
    "data.dense_options=null, but judged rounds have 4 to 5 options: give one": {
        "dialogs": {"train": "fewer_options.json"}, "dense": {"train": "fewer_dense.json"}, "dense_options": None
    },
}  # fmt: skip


@pytest.mark.parametrize("said", GIVEN)
def test_refused_before_the_first_batch(folder, monkeypatch, said):
    monkeypatch.chdir(folder)
    changes = {"dialogs": {"train": "train.json"}, "dense": {"train": "train_dense.json"}, **GIVEN[said]}
    for group in ("dialogs", "dense"):
        changes[group] = {**({"val": "val.json"} if group == "dialogs" else {}), **changes[group]}
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        data(folder, **changes).training_loader(dense=True)
    assert "\n" not in str(caught.value)
