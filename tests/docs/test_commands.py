"""Every command that README and docs show is run here, in order, in one sandbox, on small data and a small model."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import feature_files
import published_files
import pytest

import published_vilbert

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TEXT = ("text_hidden", "text_layers", "text_heads", "text_ffn", "positions")  # what a BERT checkpoint decides
DATA = ("words", "feature_dim", "region_classes")  # what the data decide
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BY_CI = {
    "make demo",
    "make test",
    "make bench",
    "make lint",
}  # .ci/run calls these; a test that called them would recurse
SMALL = "logger=files trainer.max_epochs=1 trainer.threads=1 data.batch_size=64 data.min_answer_count=1"
SMALL += " model.hidden=16 model.classifier_hidden=16"
SMALL_CAPTIONS = "logger=files trainer.max_epochs=1 trainer.threads=1 data.batch_size=20 data.min_count=1"
SMALL_CAPTIONS += " model.hidden=16 model.embed_dim=16 model.attention_hidden=16"
# the sizes of the checkpoints that `published_vilbert` writes
SMALL_DIALOGS = "logger=files trainer.max_epochs=1 trainer.threads=1 data.batch_size=8 data.eval_batch_size=4"
SMALL_DIALOGS += " data.max_length=60 data.mask_regions=0 data.features=[data/visdial/regions36.h5]"
SIZES = {key: str(value).replace(" ", "") for key, value in published_vilbert.SIZES.items() if key not in DATA}
SMALL_DIALOGS += "".join(f" model.{key}={value}" for key, value in SIZES.items())
PLACE = re.compile(r"outputs/(\w+)/20260101-1([23])0000")  # stands for the newest run, and the one before


def commands() -> list[str]:
    """The lines of all ```bash blocks."""
    blocks = [block for page in PAGES for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.S)]
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> Path:
    """A folder with a small toy world, the same files under the names of VQA v2, an old feature file, a checkpoint."""
    folder = tmp_path_factory.mktemp("readme")
    limner(folder, "data toy data/toy --scenes 60 --val 20 --test 20")
    toy, real, old = folder / "data/toy", folder / "data/vqa_v2", folder / "data/old"
    real.mkdir()
    old.mkdir()
    for ours, theirs in (("train", "train2014"), ("val", "val2014"), ("test", "test2015")):
        shutil.copy(
            toy / f"v2_OpenEnded_toy_{ours}_questions.json", real / f"v2_OpenEnded_mscoco_{theirs}_questions.json"
        )
        shutil.copy(toy / f"v2_toy_{ours}_annotations.json", real / f"v2_mscoco_{theirs}_annotations.json")
    for split, theirs in (("train", "train"), ("val", "valid")):
        for kind in ("questions", "annotations"):
            name = (
                f"v2_OpenEnded_toy_{split}_questions.json"
                if kind == "questions"
                else f"v2_toy_{split}_annotations.json"
            )
            subprocess.run(f"gzip -c {toy / name} > {real / f'{kind}_{theirs}.json.gz'}", shell=True, check=True)
    for name in ("trainval36.h5", "test36.h5"):
        shutil.copy(toy / "regions.h5", real / name)
    numbers = " ".join(["0.1"] * 300)
    (real / "glove.6B.300d.txt").write_text(f"what {numbers}\nred {numbers}\n")
    write_old_features(old)
    feature_files.write(old)
    write_checkpoint(folder)
    published_files.write(folder, toy / "regions.h5")
    write_coco(folder)
    write_visdial(folder)
    return folder


def write_old_features(folder: Path) -> None:
    """A file in the layout of bottom-up-attention-vqa, with its pickled table of ids (protocol 0)."""
    import pickle

    import h5py
    import numpy as np

    with h5py.File(folder / "train36.hdf5", "w") as file:
        file["image_features"] = np.random.default_rng(0).random((3, 36, 8), np.float32)
        file["image_bb"] = np.ones((3, 36, 4), np.float32)
        file["spatial_features"] = np.ones((3, 36, 6), np.float32)
    (folder / "train36_imgid2idx.pkl").write_bytes(pickle.dumps({9: 0, 25: 1, 30: 2}, protocol=0))


def write_coco(folder: Path) -> None:
    """The toy captions under Karpathy's names, some images of val2014 among them; and a file of annotated boxes."""
    import gzip

    (folder / "data/coco").mkdir()
    shutil.copy(folder / "data/toy/regions.h5", folder / "data/coco/trainval36.h5")
    captions = json.loads((folder / "data/toy/dataset_toy.json").read_text())
    for image in captions["images"][:10]:
        image["split"] = "restval"
    (folder / "data/coco/dataset_coco.json").write_text(json.dumps(captions))
    images = [
        {
            "image_id": image["cocoid"], "width": 60, "height": 40, "split": image["split"].replace("restval", "train"),
            "boxes": [[1, 2, 30, 30], [20, 5, 50, 39]], "labels": [k % 2, 1],
            "captions": [sentence["raw"] for sentence in image["sentences"]],
        }
        for k, image in enumerate(captions["images"]) if image["split"] != "test"
    ]  # fmt: skip
    with gzip.open(folder / "regions.json.gz", "wt") as file:
        json.dump({"categories": ["cat", "dog"], "images": images}, file)


def write_visdial(folder: Path) -> None:
    """The toy dialogs under VisDial's names, captions as in Conceptual Captions, regions of 6 numbers, checkpoints."""

    import numpy as np

    from limner.data.features.writer import FeatureWriter

    published_vilbert.write(folder)
    toy, real, pairs = folder / "data/toy", folder / "data/visdial", folder / "data/conceptual_captions"
    real.mkdir()
    pairs.mkdir()
    for file in toy.glob("visdial_1.0_*.json"):
        shutil.copy(file, real / file.name)
    told = json.loads((toy / "dataset_toy.json").read_text())["images"]
    for split in ("train", "val"):
        chosen = {one["cocoid"]: [s["raw"] for s in one["sentences"]] for one in told if one["split"] == split}
        (pairs / f"{split}.json").write_text(json.dumps(chosen))
    rng = np.random.default_rng(0)
    with FeatureWriter(real / "regions36.h5", dim=6, extractor="made for a test") as writer:
        for one in told:
            boxes = np.array([[0, 0, 20, 20], [10, 10, 40, 40]], np.float32)
            writer.add(one["cocoid"], rng.random((2, 6), np.float32), boxes, (192, 144))
    shutil.copy(real / "regions36.h5", pairs / "regions36.h5")
    dialog = [
        {"question": "is there a dog", "answer": "yes"},
        {"question": "is it red", "answer_options": ["yes", "no"]},
    ]
    (folder / "own.json").write_text(json.dumps([{"image_id": 1, "caption": "two dogs", "dialog": dialog}]))


def write_checkpoint(folder: Path) -> None:
    """A checkpoint as the published train.py saves it, with random weights, and its two vocabularies."""
    import pickle

    import torch

    words, answers, dim, hidden = 5, 4, 6, 8
    shapes = {
        "w_emb.emb.weight": (words + 1, 300), "q_emb.rnn.weight_ih_l0": (3 * hidden, 300),
        "q_emb.rnn.weight_hh_l0": (3 * hidden, hidden), "q_emb.rnn.bias_ih_l0": (3 * hidden,),
        "q_emb.rnn.bias_hh_l0": (3 * hidden,),
    }  # fmt: skip
    layers = {
        "v_att.v_proj.main.0": (hidden, dim),
        "v_att.q_proj.main.0": (hidden, hidden),
        "v_att.linear": (1, hidden),
    }
    layers |= {"q_net.main.0": (hidden, hidden), "v_net.main.0": (hidden, dim)}
    layers |= {"classifier.main.0": (2 * hidden, hidden), "classifier.main.3": (answers, 2 * hidden)}
    for name, (rows, columns) in layers.items():
        shapes |= {f"{name}.bias": (rows,), f"{name}.weight_g": (), f"{name}.weight_v": (rows, columns)}
    torch.save({f"module.{name}": torch.randn(shape) for name, shape in shapes.items()}, folder / "model.pth")
    known = [f"w{k}" for k in range(words)]
    (folder / "dictionary.pkl").write_bytes(pickle.dumps([{w: k for k, w in enumerate(known)}, known], protocol=0))
    answers = ["yes", "no", "1", "red"]
    (folder / "trainval_label2ans.pkl").write_bytes(pickle.dumps(answers, protocol=0))
    numbered = {answer: label for label, answer in enumerate(answers)}
    (folder / "trainval_ans2label.pkl").write_bytes(pickle.dumps(numbered, protocol=0))


def limner(folder: Path, words: str) -> subprocess.CompletedProcess:
    return run(folder, [sys.executable, "-m", "limner", *shlex.split(words)])


def run(folder: Path, command: list[str]) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LIMNER_", "WANDB_"))}
    environment |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done


def runs(folder: Path, experiment: str) -> list[Path]:
    """Finished runs of an experiment, newest first."""
    found = (folder / "outputs" / experiment).glob("*/result.json")
    return [path.parent for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)]


def filled(command: str, folder: Path) -> str:
    """The command with real runs in the place of the ones that stand in the text, and small settings."""
    command = PLACE.sub(lambda m: str(runs(folder, m[1])[int(m[2]) - 2].relative_to(folder)), command)
    if command.startswith("limner data toy "):
        command += " --scenes 60 --val 20 --test 20"
    if command.startswith("limner import vilbert "):
        command += f" --model {' '.join(published_vilbert.CHOSEN)}"
    if command.startswith("limner import bert "):
        told = [f"{key}={value}" for key, value in SIZES.items() if key == "text_heads" or not key.startswith(TEXT)]
        command += f" --feature-dim 6 --region-classes 5 --model {' '.join(told)}"
    if command.startswith("limner evaluate model=models/basemodel"):
        command += " data.max_length=60"
    if "experiment=visdial_own" in command:
        command += " logger=files trainer.max_epochs=1 trainer.threads=1"
    elif re.match(r"limner train .*experiment=", command) and "--cfg" not in command:
        kind = re.search(r"experiment=(?:toy_)?(caption|visdial)", command)
        command += " " + {None: SMALL, "caption": SMALL_CAPTIONS, "visdial": SMALL_DIALOGS}[kind and kind[1]]
        if "experiment=visdial_dense" in command:
            command += " data.dense_options=4"
    if " sweep=" in command:
        command += " sweep.trials=1"
    return command


def as_limner(command: str) -> str:
    """What a make target types: `make -n` shows it."""
    words = ["make", "-n", *shlex.split(command)[1:]]
    shown = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return next(line for line in shown.splitlines() if "/limner " in line).split("/limner ", 1)[1]


def test_every_command(sandbox):
    seen = commands()
    assert len(seen) >= 30
    ran = 0
    for command in seen:
        if command in BY_CI:
            assert command == "make bench" or command in (ROOT / ".ci/run").read_text()
        elif command == "make help":
            assert "demo" in run(ROOT, ["make", "help"]).stdout
        elif command.startswith("make "):
            run_words(sandbox, "limner " + as_limner(filled(command, sandbox)))
        elif command.startswith("python scripts/"):
            run(sandbox, [sys.executable, str(ROOT / command.split()[1]), *shlex.split(command)[2:]])
        elif command.startswith("limner "):
            run_words(sandbox, command)
        else:
            pytest.fail(f"no test knows how to run: {command}")
        ran += 1
    assert ran == len(seen)
    answers = (sandbox / "answers.jsonl").read_text().splitlines()
    assert len(answers) > 60


def run_words(folder: Path, command: str) -> None:
    limner(folder, filled(command, folder).removeprefix("limner "))


def test_python_lines_work(sandbox):
    """The README's three lines, with a package and features that exist."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    package = sandbox / "models/vqa"
    code = block.replace('"models/vqa"', repr(str(package)))
    run(sandbox, [sys.executable, "-c", f"import numpy\nfeatures = numpy.zeros((3, 6))\n{code}"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_experiments_exist(page):
    text = page.read_text()
    for name in re.findall(r"experiment=(\w+)", text):
        assert name == "mine" or (ROOT / f"conf/experiment/{name}.yaml").is_file(), name
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / link).exists(), link
