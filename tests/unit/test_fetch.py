"""`limner data get` against a real server: resumed to the byte, verified, never a half file that looks whole."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import shutil
import sys
import zipfile
from hashlib import sha256
from urllib.request import Request

import pytest

from file_server import serving
from limner.errors import UserError
from limner.fetch import get as getting
from limner.fetch import progress, transfer, unpack
from limner.fetch.command import main
from limner.fetch.table import STATES, TABLE, read_table

BODY = random.Random(1).randbytes(300_000)


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "WAIT", 0.001)
    with serving() as files:
        yield files


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def table(tmp_path, files, **more) -> str:
    path = tmp_path / "table.yaml"  # JSON is YAML
    one = {"about": "a set", "licence": "CC0", "to": str(tmp_path / "data"), "files": files, **more}
    path.write_text(json.dumps({"some": one}))
    return str(path)


def fetch(tmp_path, files, *words, **more) -> int:
    return main(["some", "--table", table(tmp_path, files, **more), *words])


def left(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def one(web, path="/a.bin", **more):
    return [{"name": "a.bin", "from": [web.url + path], **more}]


def test_a_file_and_its_record(web, tmp_path, capsys):
    web.content["/a.bin"] = BODY
    assert fetch(tmp_path, one(web), then=["limner features info {to}/a.bin"]) == 0
    data = tmp_path / "data"
    assert (data / "a.bin").read_bytes() == BODY
    assert left(data) == {"a.bin", "SOURCES.json"}
    record = json.loads((data / "SOURCES.json").read_text())["files"]["a.bin"]
    assert record.pop("date").endswith("+00:00")
    assert record == {
        "set": "some",
        "address": f"{web.url}/a.bin",
        "licence": "CC0",
        "size": len(BODY),
        "sha256": sha256(BODY).hexdigest(),
    }
    out = capsys.readouterr().out
    assert "1 files came, 0 were there" in out
    assert f"next: limner features info {data}/a.bin" in out
    assert fetch(tmp_path, one(web)) == 0  # a second call asks nothing
    assert len(web.asked) == 1
    assert "0 files came, 1 were there" in capsys.readouterr().out


def test_a_file_that_changed_is_told_not_replaced(web, tmp_path):
    web.content["/a.bin"] = BODY
    fetch(tmp_path, one(web))
    file = tmp_path / "data" / "a.bin"
    mine = bytes([BODY[0] ^ 1]) + BODY[1:]
    file.write_bytes(mine)
    with pytest.raises(UserError, match=r"a\.bin: has the sha256 .*changed or damaged; delete it"):
        fetch(tmp_path, one(web))
    assert file.read_bytes() == mine
    file.write_bytes(BODY[:-5])
    with pytest.raises(UserError, match="has 299,995 bytes, fetched were 300,000"):
        fetch(tmp_path, one(web))


def test_broken_off_and_resumed_to_the_byte(web, tmp_path):
    web.content["/a.bin"] = BODY
    web.cut["/a.bin"] = [100_000, 50_000]
    assert fetch(tmp_path, one(web)) == 0
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY
    assert [asked for _, asked in web.asked] == ["", "bytes=100000-", "bytes=150000-"]


def test_stopped_by_hand_and_gone_on_in_the_next_call(web, tmp_path, monkeypatch, capsys):
    web.content["/a.bin"] = BODY
    real = transfer._write

    def stop(file, chunk, part):
        real(file, chunk, part)
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "_write", stop)
    assert fetch(tmp_path, one(web)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    part = tmp_path / "data" / "a.bin.part"
    there = part.read_bytes()
    assert 0 < len(there) < len(BODY)
    assert BODY.startswith(there)
    assert not (tmp_path / "data" / "a.bin").exists()
    monkeypatch.setattr(transfer, "_write", real)
    assert fetch(tmp_path, one(web)) == 0
    assert web.asked[1] == ("/a.bin", f"bytes={len(there)}-")
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY
    assert left(tmp_path / "data") == {"a.bin", "SOURCES.json"}


def test_the_part_of_an_older_version_is_not_used(web, tmp_path):
    web.content["/a.bin"] = BODY
    web.cut["/a.bin"] = [1000] * transfer.ATTEMPTS * 400
    web.plain.add("/a.bin")
    with pytest.raises(UserError, match=r"breaks off after 1,000 of 300,000 bytes \(5 times\)"):
        fetch(tmp_path, one(web))
    assert (tmp_path / "data" / "a.bin.part").stat().st_size == 1000
    web.cut.clear()
    web.plain.clear()
    web.content["/a.bin"], web.version = BODY[::-1], '"2"'
    assert fetch(tmp_path, one(web)) == 0
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY[::-1]


def test_a_server_without_ranges(web, tmp_path):
    web.content["/a.bin"] = BODY
    web.plain.add("/a.bin")
    web.cut["/a.bin"] = [100_000]
    assert fetch(tmp_path, one(web)) == 0
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY


def test_a_server_that_tells_no_length(web, tmp_path):
    web.content["/a.bin"] = BODY
    web.silent.add("/a.bin")
    assert fetch(tmp_path, one(web)) == 0
    web.cut["/a.bin"] = [7] * transfer.ATTEMPTS
    (tmp_path / "data" / "a.bin").unlink()
    with pytest.raises(UserError, match="breaks off after 7 of 300,000 bytes"):  # the table knows the size
        fetch(tmp_path, one(web, size=len(BODY)))


def test_content_shorter_than_said(web, tmp_path):
    web.content["/a.bin"] = BODY
    web.ends["/a.bin"] = 10
    with pytest.raises(UserError, match=r"a.bin: .* breaks off after 300,000 of 300,010 bytes"):
        fetch(tmp_path, one(web))
    assert not (tmp_path / "data" / "a.bin").exists()


def test_gone_slow_wrong_then_a_mirror(web, tmp_path, capsys):
    web.content |= {"/wrong.bin": BODY[::-1], "/short.bin": BODY[1:], "/page.bin": b"<html>", "/good.bin": BODY}
    web.broken["/down.bin"] = 503
    web.page.add("/page.bin")
    addresses = [f"{web.url}/{name}.bin" for name in ("gone", "down", "page", "short", "wrong", "good", "never")]
    file = {"name": "a.bin", "size": len(BODY), "sha256": sha256(BODY).hexdigest(), "from": addresses}
    assert fetch(tmp_path, [file]) == 0
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY
    told = capsys.readouterr().err
    for fault in ("answers 404 Not Found", "answers 503 Service Unavailable (5 times)", "answers with a web page",
                  "has 299,999 bytes, expected 300,000", "gave a file with the sha256"):  # fmt: skip
        assert fault in told
    assert [path for path, _ in web.asked].count("/down.bin") == transfer.ATTEMPTS
    assert "/never.bin" not in [path for path, _ in web.asked]


def test_a_known_checksum_lets_a_mirror_go_on(web, tmp_path):
    web.content |= {"/a.bin": BODY, "/b.bin": BODY}
    web.cut["/a.bin"] = [1000, 0, 0, 0, 0, 0]
    file = {"name": "a.bin", "sha256": sha256(BODY).hexdigest(), "from": [web.url + "/a.bin", web.url + "/b.bin"]}
    assert fetch(tmp_path, [file]) == 0
    assert web.asked[-1] == ("/b.bin", "bytes=1000-")
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY


def test_a_part_that_spoils_the_checksum_is_fetched_once_more(web, tmp_path):
    web.content["/a.bin"] = BODY
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin.part").write_bytes(b"x" * 1000)
    assert fetch(tmp_path, one(web, sha256=sha256(BODY).hexdigest())) == 0
    assert [asked for _, asked in web.asked] == ["bytes=1000-", ""]
    (tmp_path / "data" / "a.bin").unlink()
    (tmp_path / "data" / "a.bin.part").write_bytes(b"x" * 400_000)  # longer than all of it: the server says 416
    assert fetch(tmp_path, one(web, sha256=sha256(BODY).hexdigest())) == 0
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY


def test_stopped_between_the_last_byte_and_the_check(web, tmp_path):
    web.content["/a.bin"] = BODY
    part = tmp_path / "data" / "a.bin.part"
    part.parent.mkdir()
    part.write_bytes(BODY)
    assert fetch(tmp_path, one(web, sha256=sha256(BODY).hexdigest())) == 0  # the server says that nothing is missing
    assert web.asked == [("/a.bin", "bytes=300000-")]
    (tmp_path / "data" / "a.bin").unlink()
    part.write_bytes(BODY)
    assert fetch(tmp_path, one(web, sha256=sha256(BODY).hexdigest(), size=len(BODY))) == 0
    assert len(web.asked) == 1


def test_redirects(web, tmp_path):
    web.content["/there.bin"] = BODY
    web.moved |= {"/a.bin": web.url + "/there.bin", "/b.bin": "file:///etc/passwd", "/c.bin": "ftp://127.0.0.1/c"}
    assert fetch(tmp_path, one(web)) == 0
    assert (tmp_path / "data" / "a.bin").read_bytes() == BODY
    with pytest.raises(UserError, match="Redirection to url 'file:///etc/passwd' is not allowed"):
        fetch(tmp_path, [{"name": "b.bin", "from": [web.url + "/b.bin"]}])
    with pytest.raises(UserError, match="sends on to ftp://127"):
        fetch(tmp_path, [{"name": "c.bin", "from": [web.url + "/c.bin"]}])
    with pytest.raises(transfer.GivenUp, match="sends on to http://there, which is not https"):
        transfer._Redirects().redirect_request(Request("https://here"), None, 302, "", {}, "http://there")


def test_all_dead(web, tmp_path):
    files = [{"name": "a.zip", "holds": ["a.json"], "from": [web.url + "/a.zip", "http://127.0.0.1:9/a.zip"]}]
    with pytest.raises(UserError) as caught:
        fetch(tmp_path, files, advice="ask the author")
    line = str(caught.value)
    assert "\n" not in line
    for part in (
        "1 are missing: a.zip: ",
        "answers 404 Not Found",
        "cannot be reached",
        "ask the author",
        "--from FOLDER",
    ):
        assert part in line
    assert not [name for name in left(tmp_path / "data") if not name.startswith("SOURCES")]


def test_one_that_is_lost_does_not_stop_the_others(web, tmp_path):
    web.content["/b.bin"] = BODY
    files = [*one(web), {"name": "b.bin", "from": [web.url + "/b.bin"]}]
    with pytest.raises(UserError, match=r"1 files came, 0 were there and are right, 1 are missing: a.bin"):
        fetch(tmp_path, files)
    assert (tmp_path / "data" / "b.bin").read_bytes() == BODY


def test_a_full_disk(web, tmp_path, monkeypatch):
    web.content["/a.bin"] = BODY
    with monkeypatch.context() as patch:
        patch.setattr(transfer.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
        with pytest.raises(UserError, match="no room: 300,000 bytes are still to come, 1,000 are free; free space"):
            fetch(tmp_path, one(web))

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() >= 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[: 10_000 - self.tell()])  # a full disk takes a part first

    monkeypatch.setattr(transfer, "open", lambda path, mode, buffering: Full(path, mode), raising=False)
    with pytest.raises(UserError, match=r"a\.bin\.part: the disk has no room: it ended at 10,000 bytes.*kept"):
        fetch(tmp_path, one(web))
    assert not (tmp_path / "data" / "a.bin").exists()
    assert (tmp_path / "data" / "a.bin.part").read_bytes() == BODY[:10_000]
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch(tmp_path, one(web)) == 0
    assert web.asked[-1] == ("/a.bin", "bytes=10000-")


def test_archives(web, tmp_path):
    web.content["/a.zip"] = zipped(**{"top/in.json": b"[1]", "top/other.json": b"[2]", "top/more.txt": b"-"})
    holds = ["in.json", {"deep/name.json": "other.json"}]
    files = [{"name": "a.zip", "holds": holds, "from": [web.url + "/a.zip"]}]
    assert fetch(tmp_path, files) == 0
    data = tmp_path / "data"
    assert left(data) == {"in.json", "deep/name.json", "SOURCES.json"}
    assert (data / "deep/name.json").read_bytes() == b"[2]"
    packed = json.loads((data / "SOURCES.json").read_text())["files"]["in.json"]["archive"]
    assert packed == {
        "name": "a.zip",
        "size": len(web.content["/a.zip"]),
        "sha256": sha256(web.content["/a.zip"]).hexdigest(),
    }
    assert fetch(tmp_path, files) == 0
    assert len(web.asked) == 1
    (data / "in.json").unlink()
    (data / "SOURCES.json").unlink()
    (data / "deep/name.json").write_bytes(b"mine")  # laid there by hand: only what is missing is taken out
    assert fetch(tmp_path, files) == 0
    assert (data / "in.json").read_bytes() == b"[1]"
    assert (data / "deep/name.json").read_bytes() == b"mine"


def bent(member: str, **info) -> bytes:
    """A zip file with one odd member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        about = zipfile.ZipInfo(member)
        for name, value in info.items():
            setattr(about, name, value)
        archive.writestr(about, b"[1]")
        archive.writestr("in.json", b"[1]") if member != "in.json" else None
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (zipped(**{"in.json": bytes(50 << 20)}), "which no honest archive does: it is refused"),
        (bent("../in2.json"), "leads out of the folder: it is refused"),
        (bent("/in2.json"), "leads out of the folder: it is refused"),
        (bent("C:\\in2.json"), "leads out of the folder: it is refused"),
        (bent("in.json", external_attr=0o120777 << 16), "as a link: it is refused"),
        (zipped(**{"a/in.json": b"1", "b/in.json": b"2"}), "holds 2 files in.json, expected one"),
        (zipped(**{"else.json": b"1"}), "holds 0 files in.json, expected one; it has else.json"),
        (zipped(**{"in.json": BODY})[:-30], "is no whole zip file"),
        (zipped(**{"in.json": BODY}).replace(BODY[50_000:50_010], b"0123456789"), "is no whole zip file: Bad CRC"),
        (b"not a zip file", "is no whole zip file"),
    ],
    ids=["bomb", "parent", "absolute", "drive", "link", "twice", "absent", "cut", "flipped", "text"],
)
def test_archives_that_are_refused(web, tmp_path, content, told):
    web.content["/a.zip"] = content
    with pytest.raises(UserError, match=told):
        fetch(tmp_path, [{"name": "a.zip", "holds": ["in.json"], "from": [web.url + "/a.zip"]}])
    assert not left(tmp_path / "data")
    assert left(tmp_path) == {"table.yaml"}


def test_no_room_to_unpack(tmp_path, monkeypatch):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped(**{"in.json": BODY}))
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"300,000 bytes are packed in a.zip, 1,000 are free"):
        unpack.unpack(archive, {"in.json": "in.json"}, tmp_path)
    monkeypatch.undo()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"in.json: the disk has no room"):
        unpack.unpack(archive, {"in.json": "in.json"}, tmp_path)
    assert left(tmp_path) == {"a.zip"}


def test_from_a_folder(web, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.zip").write_bytes(zipped(**{"in.json": b"[1]"}))
    (mine / "un.json").write_bytes(b"[2]")
    (mine / "plain.txt").write_bytes(BODY)
    files = [
        {"name": "a.zip", "holds": ["in.json"], "from": [web.url + "/a.zip"]},
        {"name": "b.zip", "holds": [{"deep/there.json": "un.json"}], "from": [web.url + "/b.zip"]},
        {"name": "plain.txt", "as": "vocab.txt", "sha256": sha256(BODY).hexdigest(), "from": []},
    ]
    assert fetch(tmp_path, files, "--from", str(mine)) == 0
    assert web.asked == []
    data = tmp_path / "data"
    assert left(data) == {"in.json", "deep/there.json", "vocab.txt", "SOURCES.json"}
    assert json.loads((data / "SOURCES.json").read_text())["files"]["vocab.txt"]["address"] == str(mine)
    assert left(mine) == {"a.zip", "un.json", "plain.txt"}

    (data / "vocab.txt").unlink()
    (mine / "plain.txt").write_bytes(BODY[1:])
    more = {"name": "c.zip", "holds": ["in3.json"], "from": []}
    with pytest.raises(UserError) as caught:
        fetch(tmp_path, [*files, more], "--from", str(mine))
    assert "plain.txt gave a file with the sha256" in str(caught.value)
    assert f"{mine} has no c.zip and no in3.json" in str(caught.value)
    assert not (data / "vocab.txt").exists()
    with pytest.raises(UserError, match="--from nowhere: there is no such folder"):
        fetch(tmp_path, files, "--from", "nowhere")


def test_files_laid_there_by_hand(web, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.bin").write_bytes(BODY)
    with pytest.raises(UserError, match=r"has the sha256 .*, expected 0000"):
        fetch(tmp_path, one(web, sha256="0" * 64))
    assert fetch(tmp_path, one(web)) == 0
    assert web.asked == []
    assert json.loads((data / "SOURCES.json").read_text())["files"]["a.bin"]["address"] == "was there"


def test_two_processes_at_once(web, tmp_path):
    (tmp_path / "data").mkdir()
    with getting._alone(tmp_path / "data"), pytest.raises(UserError, match="another process is writing it"):
        fetch(tmp_path, one(web))


def test_a_dry_run_shows_and_fetches_nothing(web, tmp_path, capsys):
    addresses = [{"url": web.url + "/a.bin", "state": "answers", "told": "by a friend"}, web.url + "/b.bin"]
    files = [{"name": "a.bin", "size": 12_300_000, "from": addresses}, {"name": "b.bin", "from": []}]
    assert fetch(tmp_path, files, "--dry-run") == 0
    out = capsys.readouterr().out
    assert web.asked == []
    assert not (tmp_path / "data").exists()
    for part in ("licence: CC0", "a.bin: 12.3 MB", "answers    http", "(by a friend)", "unverified http",
                 "to fetch: 2 files, 12.3 MB and 1 of unknown size"):  # fmt: skip
        assert part in out


def test_sets_that_belong_together(web, tmp_path):
    web.content |= {"/a.bin": BODY, "/b.bin": BODY}
    path = tmp_path / "t.yaml"
    entry = {"licence": "CC0", "to": str(tmp_path / "data")}
    sets = {
        "some": {**entry, "with": ["other"], "files": one(web)},
        "other": {**entry, "files": [{"name": "b.bin", "from": [web.url + "/b.bin"]}]},
    }
    path.write_text(json.dumps(sets))
    assert main(["some", "--table", str(path)]) == 0
    assert left(tmp_path / "data") == {"a.bin", "b.bin", "SOURCES.json"}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([{"name": "a.bin"}], "a.bin: has no key from"),
        ([{"name": "../a.bin", "from": []}], "leaves the folder"),
        ([{"name": "a/b.bin", "from": []}], "is a path"),
        ([{"name": "a.bin", "as": "/etc/passwd", "from": []}], "leaves the folder"),
        ([{"name": "a.zip", "holds": [{"../../x": "x"}], "from": []}], "leaves the folder"),
        ([{"name": "a.bin", "holds": ["x"], "from": []}], "holds: expected a list of files in a .zip"),
        ([{"name": "a.bin", "from": ["ftp://host/a"]}], "is no address of the web"),
        ([{"name": "a.bin", "from": ["file:///etc/passwd"]}], "is no address of the web"),
        ([{"name": "a.bin", "from": [{"url": "http://h/a", "state": "fine"}]}], "expected one of answers"),
        ([{"name": "a.bin", "sha256": "12", "from": []}], "expected 64 hexadecimal digits"),
        ([{"name": "a.bin", "size": "12 MB", "from": []}], "expected a number of bytes"),
        ([{"name": "a.bin", "md5": "12", "from": []}], "unknown key md5"),
        ([], "expected a list of files"),
    ],
)
def test_tables_with_faults(tmp_path, files, told):
    with pytest.raises(UserError, match=told) as caught:
        fetch(tmp_path, files)
    assert "table.yaml: some: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tables_that_are_none(tmp_path):
    path = tmp_path / "t.yaml"
    for content in ("a: [", "[]", "", "\0"):
        path.write_text(content)
        with pytest.raises(UserError) as caught:
            main(["--table", str(path)])
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="No such file"):
        main(["--table", str(tmp_path / "none.yaml")])
    with pytest.raises(UserError, match="there is no set other"):
        fetch(tmp_path, [{"name": "a.bin", "from": []}], **{"with": ["other"]})


def test_the_table_of_the_package():
    """Every set leads somewhere, its addresses are in order, and there is a way out when all fail."""
    sets = read_table(TABLE)
    assert {"vqa_v2", "coco_karpathy", "visdial", "visual_genome", "glove", "bert_vocab", "bottom_up_features"} <= set(
        sets
    )
    for one in sets.values():
        assert one.about, one.name
        assert one.advice, one.name
        assert one.home.startswith("https://"), one.name
        for file in one.files:
            assert file.addresses, file.name
            states = [STATES.index(address.state) for address in file.addresses]
            assert states == sorted(states), file.name
            assert all(address.told for address in file.addresses if address.state != "unverified"), file.name
        for step in one.then:
            step.format(to=one.to)


@pytest.mark.parametrize(
    ("name", "experiment", "made"),
    [
        ("vqa_v2", "vqa_updown_hu", {"trainval36.h5", "test36.h5"}),
        ("coco_karpathy", "caption_xe", {"trainval36.h5"}),
        ("visdial", "visdial_dense", {"regions36.h5"}),
    ],
)
def test_what_is_fetched_is_what_the_experiments_look_for(tmp_path, capsys, name, experiment, made):
    """Files of the table's names, taken from a folder; then the check before a run misses the features alone."""
    from limner.preflight import compose

    mine, data = tmp_path / "mine", tmp_path / "data"
    mine.mkdir()
    sets = read_table(TABLE)
    entries = {}
    for one in (name, *sets[name].together):
        files = []
        for file in sets[one].files:
            for member in file.places.values():
                (mine / (member or file.name)).write_bytes(b"{}")
            holds = {"holds": [{place: member} for place, member in file.places.items()]} if file.packed else {}
            plain = {} if file.packed else {"as": next(iter(file.places))}
            files.append({"name": file.name, "from": [], **holds, **plain})
        entries[one] = {"licence": "", "to": sets[one].to, "with": list(sets[one].together), "files": files}
    path = tmp_path / "t.yaml"
    path.write_text(json.dumps(entries))
    folder = data / sets[name].to.removeprefix("data/")
    assert main([name, "--table", str(path), "--to", str(folder), "--from", str(mine)]) == 0
    words = [f"experiment={experiment}", f"paths.data={data}"]
    with pytest.raises(UserError, match=r"data\.features: there is no file .*; .*limner features"):
        compose("train", words)
    for file in made:
        (folder / file).write_bytes(b"")
    compose("train", words)


def test_progress_for_people_and_for_logs(web, tmp_path, monkeypatch, capsys):
    web.content |= {"/a.bin": BODY, "/b.bin": BODY}
    both = [*one(web), {"name": "b.bin", "from": [web.url + "/b.bin"]}]
    monkeypatch.setattr(progress, "EVERY", 0)
    assert fetch(tmp_path, both) == 0
    assert re.search(r"a\.bin: 300,000 bytes of 300,000 bytes, .*/s, 0 min left", capsys.readouterr().err)
    shutil.rmtree(tmp_path / "data")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(transfer, "CHUNK", 1000)  # so that bars are drawn meanwhile
    assert fetch(tmp_path, both) == 0
    shown = capsys.readouterr().err
    assert "b.bin" in shown
    assert "/300.0 kB" in shown
    assert [progress.size(count) for count in (None, 12, 3_400_000, 5_600_000_000)] == [
        "size unknown", "12 bytes", "3.4 MB", "5.6 GB",
    ]  # fmt: skip
