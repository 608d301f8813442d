"""Data from a server on this machine, fetched by a process that is killed, and a model trained on them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

from file_server import serving

TINY = ["data.min_answer_count=1", "data.words_from=[train,val]", "data.glove=null", "model.embed_dim=16",
        "model.hidden=16", "model.classifier_hidden=16", "trainer.max_epochs=1", "trainer.threads=1",
        "logger=files"]  # fmt: skip
NAMES = {
    "v2_OpenEnded_mscoco_train2014_questions.json": "v2_OpenEnded_toy_train_questions.json",
    "v2_OpenEnded_mscoco_val2014_questions.json": "v2_OpenEnded_toy_val_questions.json",
    "v2_mscoco_train2014_annotations.json": "v2_toy_train_annotations.json",
    "v2_mscoco_val2014_annotations.json": "v2_toy_val_annotations.json",
}


def test_fetched_killed_resumed_and_trained_on(limner, toy, tmp_path):
    """A toy VQA v2: zip files and features behind addresses, one of which is dead."""
    with serving() as web:
        files = []
        for name, ours in NAMES.items():
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(toy / ours, name)
            web.content[f"/{name}.zip"] = stream.getvalue()
            addresses = [f"{web.url}/gone/{name}.zip", f"{web.url}/{name}.zip"]
            files.append({"name": f"{name}.zip", "holds": [name], "from": addresses})
        web.content["/regions.h5"] = (toy / "regions.h5").read_bytes()
        files.append({"name": "regions.h5", "as": "trainval36.h5", "from": [f"{web.url}/regions.h5"]})
        table, folder = tmp_path / "table.yaml", tmp_path / "sets" / "vqa_v2"
        table.write_text(json.dumps({"vqa_v2": {"licence": "CC0", "to": "data/vqa_v2", "files": files}}))
        command = ["data", "get", "vqa_v2", "--table", str(table), "--to", str(folder)]

        web.held["/regions.h5"] = threading.Event()
        half = len(web.content["/regions.h5"]) // 2
        part = folder / "regions.h5.part"
        first = subprocess.Popen(
            [sys.executable, "-m", "limner", *command], env={**os.environ, "no_proxy": "127.0.0.1"}
        )
        while not part.exists() or part.stat().st_size < half:
            assert first.poll() is None
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()
        web.held.pop("/regions.h5").set()
        assert not (folder / "trainval36.h5").exists()
        asked = len(web.asked)

        told = limner(*command).stdout
    assert f"{folder}: 1 files came, 4 were there and are right" in told
    assert web.asked[asked:] == [("/regions.h5", f"bytes={half}-")]
    assert (folder / "trainval36.h5").read_bytes() == (toy / "regions.h5").read_bytes()
    features = f"data.features=[{folder}/trainval36.h5]"
    run = tmp_path / "run"
    limner("train", "experiment=vqa_updown_hu", f"paths.data={folder.parent}", f"paths.run={run}", features, *TINY)
    assert json.loads((run / "result.json").read_text())["metrics"]
