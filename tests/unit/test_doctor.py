"""`limner doctor` says what is there, and names what is broken."""

from __future__ import annotations

import shutil

import pytest
import xxhash

from limner import preflight
from limner.data.toy import build
from limner.doctor import command, data, machine
from limner.doctor.pair import pair


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    build.build(folder / "toy", train=6, val=2, test=2, seed=1)
    return folder


@pytest.fixture
def _few(monkeypatch):
    """Three experiments; `test_all_well` goes through all of them."""
    options = preflight.group_options
    few = ["toy_vqa", "toy_visdial", "vqa_updown"]
    monkeypatch.setattr(preflight, "group_options", lambda of, dirs: few if of == "experiment" else options(of, dirs))


def lines(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_all_well(world, tmp_path, capsys):
    assert command.main(["--data", str(world), "--outputs", str(tmp_path), "--seconds", "0"]) == 0
    found = lines(capsys)
    assert found[-1] == "no fault"
    assert any(line.startswith("ok     toy_vqa ") and "7 of 7 files" in line for line in found)
    path = world / "toy" / "dataset_toy.json"
    content = path.read_bytes()
    assert any(line.endswith(f"{path}  {len(content):,} bytes  {xxhash.xxh3_64_hexdigest(content)}") for line in found)
    assert any("10 images x" in line and "by components" in line for line in found)


@pytest.mark.usefixtures("_few")
def test_a_store_cut_short_and_a_file_that_is_gone(world, tmp_path, capsys):
    copy = tmp_path / "data"
    shutil.copytree(world, copy)
    store = copy / "toy" / "regions.h5"
    store.write_bytes(store.read_bytes()[:-2000])
    (copy / "toy" / "v2_toy_val_annotations.json").unlink()
    assert command.main(["--data", str(copy), "--outputs", str(tmp_path), "--seconds", "0"]) == 1
    found = lines(capsys)
    assert found[-1] == "1 fault"
    assert any(line.startswith("FAULT") and "is cut short" in line for line in found)
    assert any(line.startswith("note   toy_vqa ") and "v2_toy_val_annotations.json" in line for line in found)


@pytest.mark.usefixtures("_few")
def test_nothing_is_here_yet(tmp_path, capsys):
    assert command.main(["--data", str(tmp_path), "--outputs", str(tmp_path), "--seconds", "0"]) == 0
    assert any("limner data toy data/toy draws a data set" in line for line in lines(capsys))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (found,) = machine.disk({"outputs": tmp_path / "file" / "runs"})
    assert found.state == "FAULT"
    assert "paths.outputs=DIR" in found.text
    (found,) = machine.disk({"outputs": tmp_path / "new" / "runs"})
    assert found.state == "ok"
    assert not (tmp_path / "new").exists()


def test_a_package_too_old_and_one_that_is_missing(monkeypatch):
    needed = ["numpy>=99", "torch>=2.6", "nowhere-to-be-found>=1", "pytest>=8; extra == 'dev'"]
    monkeypatch.setattr(machine, "requires", lambda name: needed)
    found = {finding.name: finding for finding in machine.versions()}
    assert {name: found[name].state for name in ("numpy", "torch", "nowhere-to-be-found")} == {
        "numpy": "FAULT",
        "torch": "ok",
        "nowhere-to-be-found": "FAULT",
    }
    assert "pip install 'numpy>=99'" in found["numpy"].text
    assert "pytest" not in found


def test_a_key_is_never_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    found = machine.wandb(tmp_path)
    assert "a key is there" in found.text
    assert "0123456789abcdef" not in str(found)


def test_runs_that_were_not_sent(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert "offline folders" not in machine.wandb(tmp_path).text
    for name in ("a", "b"):
        folder = tmp_path / "toy_vqa" / name / "wandb" / f"offline-run-{name}"
        folder.mkdir(parents=True)
        (folder / "run-x.wandb").write_bytes(b"")
    (folder / "run-x.wandb.synced").write_bytes(b"")
    assert "1 offline folders" in machine.wandb(tmp_path).text


def test_the_code_and_the_extras(monkeypatch):
    monkeypatch.setattr(machine, "code_version", lambda: {"limner": "0.1.0", "commit": "c" * 40, "dirty": True})
    (found,) = [one for one in machine.versions() if one.name == "limner"]
    assert found.text == "0.1.0, commit cccccccccccc, with changes"
    needed = ["numpy>=1", 'pillow>=1; extra == "pictures"', 'nowhere-to-be-found>=1; extra == "own"']
    monkeypatch.setattr(machine, "requires", lambda name: [*needed, 'pytest>=8; extra == "dev"'])
    found = machine.extras()
    assert found.state == "note"
    assert found.text.startswith("pillow ")
    assert found.text.endswith("; not here: nowhere-to-be-found (limner[own])")


def test_large_files_are_known_by_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "WHOLE", 3 << 20)
    path = tmp_path / "large"
    path.write_bytes(bytes(4 << 20))
    before = data.digest(path)
    assert "~" in before
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert data.digest(path) != before


@pytest.mark.slow
def test_wandb_starts_and_writes(monkeypatch, tmp_path):
    assert machine.wandb_service().state == "ok"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "wandb.py").write_text("raise OSError('no room')")
    found = machine.wandb_service()
    assert (found.state, found.text) == ("FAULT", "OSError: no room: train with logger=files")


@pytest.mark.slow
def test_two_processes_meet():
    found = pair(0.3)
    assert found.state == "ok"
    assert "sums right" in found.text


@pytest.mark.slow
def test_two_processes_that_cannot_meet(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nowhere0")
    assert pair(0.3).state == "FAULT"
