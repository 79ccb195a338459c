"""``run-bench get`` from a server on this machine: what is under a file's name is whole, checked and recorded."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from download_server import Server
from processes import start_bench

from apm_tta.cli import main
from apm_tta.data.cards import load_card
from apm_tta.data.file_digests import RECORDS
from apm_tta.download import transfer
from apm_tta.resources import DATASETS
from apm_tta.system import writer_lock

Card = Callable[..., None]
Run = Callable[..., tuple[int, str, str]]


def image(colour: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 90, 10)).save(buffer, "PNG")
    return buffer.getvalue()


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as written:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = len(content := image(number))
            written.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


TREE = archive("cat/1.png", "cat/2.png", "dog/1.png")
WRONG = archive("cat/1.png", "dog/9.png", "dog/1.png")
"""As large, and not the file."""


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def card(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Card:
    """Return a function that writes the only card there is, of a folder of images, with one download."""
    cards = tmp_path / "cards"
    cards.mkdir()
    monkeypatch.setattr("apm_tta.data.cards.DATASETS", cards)
    monkeypatch.setattr(transfer.Persistence, "pause", lambda *_: None)
    fields = yaml.safe_load((DATASETS / "folder.yaml").read_text(encoding="utf-8"))

    def written(*downloads: dict[str, Any], **changed: Any) -> None:
        usual = {"name": "tree.tar", "addresses": [f"{server.address}/tree.tar"], "stated_by": "the test"}
        stated = [usual | download for download in downloads or ({},)]
        content = fields | {"name": "mine", "title": "Mine", "places": ["", "mine"], "downloads": stated} | changed
        (cards / "mine.yaml").write_text(json.dumps(content), encoding="utf-8")

    return written


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs ``run-bench get mine``, and returns exit code, output and errors."""

    def ran(*words: str, command: str = "get") -> tuple[int, str, str]:
        code = main([command, "mine", "--data-root", str(root), *words])
        return code, *capsys.readouterr()

    return ran


def names(root: Path) -> set[str]:
    """Return the files below the data root that a reader would see."""
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)}


def test_a_set_is_fetched_unpacked_checked_and_not_fetched_again(
    server: Server, card: Card, run: Run, root: Path
) -> None:
    server.put("/tree.tar", TREE)
    card({"bytes": len(TREE), "digests": {sha256(TREE): "the author"}})
    code, out, err = run("--unpack")
    assert (code, err) == (0, "")
    assert f"tree.tar: from {server.address}/tree.tar\n" in out
    assert f"whole, {len(TREE) / 1000:.1f} kB; as stated by the author; sha256 " in out
    assert "a run can use it" in out
    assert names(root) == {"tree.tar", "cat/1.png", "cat/2.png", "dog/1.png"}
    assert not list(root.rglob("*.partial"))
    code, out, err = run("--unpack")
    assert (code, err, len(server.asked)) == (0, "", 1)
    assert "there, and checked" in out


def test_an_archive_is_kept_and_read_as_it_lies(server: Server, card: Card, run: Run, root: Path) -> None:
    server.put("/tree.tar", TREE)
    card({"digests": {sha256(TREE): "the author"}})
    code, out, _ = run()
    assert code == 0
    assert "read from tree.tar" in out
    assert out.endswith("everything is as expected\n")
    assert names(root) == {"tree.tar"}
    code, out, _ = run("--deep", command="check")
    assert code == 0
    assert "published digests compared: 1 of 1" in out


def test_without_a_stated_digest_what_was_computed_is_recorded_and_compared(
    server: Server, card: Card, run: Run, root: Path
) -> None:
    server.put("/tree.tar", TREE)
    card()
    code, out, _ = run("--unpack")
    assert code == 0
    assert "digest not known: nobody states one" in out
    assert f"nobody states a digest; {sha256(TREE).replace(':', ' ')} is recorded" in out
    record = json.loads((root / RECORDS).read_text(encoding="utf-8").splitlines()[0])
    assert (record["sha256"], record["bytes"]) == (sha256(TREE)[7:], len(TREE))
    code, out, _ = run("--deep", command="check")
    assert code == 0
    assert "1 file without a published digest compared with what was computed at the download" in out
    (root / "tree.tar").write_bytes(WRONG)
    code, out, _ = run("--deep", command="check")
    assert code == 1
    assert f"tree.tar has sha256 {sha256(WRONG)[7:]}, expected {sha256(TREE)[7:]} (computed when it was down" in out
    code, _, err = run()
    assert code == 1
    assert "(computed when it was downloaded before); move it away, and run the same command again" in err
    (root / "tree.tar").unlink()
    server.put("/tree.tar", WRONG)
    code, out, _ = run()
    assert code == 1, "what comes now is another file than came before"
    assert "tree.tar" not in names(root)


def test_a_record_that_a_killed_writer_left_unfinished_is_none(
    server: Server, card: Card, run: Run, root: Path
) -> None:
    server.put("/tree.tar", TREE)
    card()
    run("--unpack")
    first, second = (root / RECORDS).read_bytes().splitlines(keepends=True)
    (root / RECORDS).write_bytes(first + second[:50])
    assert run("--unpack")[0] == 0
    assert len(server.asked) == 1
    assert (root / RECORDS).read_bytes() == first + second[:50] + b"\n" + second


def test_a_wrong_file_of_one_address_is_not_taken_and_a_mirror_is_asked(
    server: Server, card: Card, run: Run, root: Path
) -> None:
    server.put("/old/tree.tar", WRONG)
    server.put("/page/tree.tar", b"<html>moved</html>", headers={"Content-Type": "text/html"})
    server.put("/new/tree.tar", TREE)
    places = [f"{server.address}/{name}/tree.tar" for name in ("gone", "page", "old", "new")]
    card({"addresses": places[:3], "digests": {sha256(TREE): "the author"}})
    code, out, err = run("--unpack")
    assert code == 1
    assert err == (
        "run-bench: tree.tar could not be fetched, for the reasons above; run the same command again, or name another "
        "address with --mirror\n"
    )
    for says in (
        "404 Not Found",
        "there is a web page, not the file",
        f"what came has sha256 {sha256(WRONG)[7:]}, exp",
    ):
        assert says in out
    assert names(root) == set()
    card({"addresses": places, "digests": {sha256(TREE): "the author"}})
    assert run("--unpack")[0] == 0
    (root / "tree.tar").unlink()
    card({"addresses": places[:3], "digests": {sha256(TREE): "the author"}})
    assert run("--unpack", "--mirror", f"{server.address}/new/")[0] == 0


def test_a_wrong_join_is_noticed_and_fetched_once_more_from_its_start(
    server: Server, card: Card, run: Run, root: Path
) -> None:
    """A server that says of another file that it is the same one."""
    cut = lambda handler, served: handler.answer(200, WRONG[:9000], handler.of(served), length=len(TREE))  # noqa: E731
    server.put("/tree.tar", TREE).faults.extend([cut, lambda handler, _: handler.answer(404, b"", {})])
    card({"digests": {sha256(TREE): "the author"}})
    assert run()[0] == 1
    code, out, _ = run("--unpack")
    assert code == 0
    assert "it is fetched once more from its start" in out
    assert (root / "tree.tar").read_bytes() == TREE


def test_dry_run_shows_everything_and_does_nothing(server: Server, card: Card, run: Run, root: Path) -> None:
    steps = {"name": "key.txt", "addresses": [], "steps": "sign the form"}
    card({"bytes": 22_565_673_785, "digests": {sha256(TREE): "the author"}, "folder": "mine"}, steps)
    code, out, err = run("--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "mine: Mine; licence: your own",
        f"  {root}/mine/tree.tar: 22.6 GB; not there",
        f"    from {server.address}/tree.tar",
        f"    {sha256(TREE).replace(':', ' ')}, stated by the author",
        f"  {root}/key.txt: size not known; to be got by hand",
        "    digest not known: nobody states one",
        "    by hand: sign the form",
    ]
    assert not root.exists()
    assert not server.asked


def test_what_only_a_person_can_get_is_said_step_by_step_and_checked_when_it_is_there(
    server: Server, card: Card, run: Run, root: Path
) -> None:
    card({"addresses": [], "steps": "make an account at https://example.org", "digests": {sha256(TREE): "the author"}})
    code, out, err = run("--unpack")
    assert code == 2
    assert f"by hand: {root}/tree.tar: make an account at https://example.org. What you put there is checked" in out
    assert err == (
        "run-bench: mine cannot be fetched by a program alone; follow the steps above, and run the same command again\n"
    )
    (root / "tree.tar").write_bytes(WRONG)
    code, _, err = run("--unpack")
    assert code == 1
    assert "(the author); move it away, and run the same command again" in err
    (root / "tree.tar").write_bytes(TREE)
    assert run("--unpack")[0] == 0
    assert not server.asked


@pytest.mark.parametrize("name", ["imagenet", "objectnet", "stanford_cars", "folder"])
def test_sets_that_no_program_can_get_end_with_2(
    name: str, server: Server, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stanford Cars' list of its split has an address, and is fetched; its images have none."""
    fetched = []
    monkeypatch.setattr("apm_tta.download.get.bring", lambda place, *_: fetched.append(place.path.name))
    assert main(["get", name, "--data-root", str(root)]) == 2
    out, err = capsys.readouterr()
    assert "by hand: " in out
    assert err.startswith(f"run-bench: {name} cannot be fetched by a program alone; ")
    assert fetched == (["split_zhou_StanfordCars.json"] if name == "stanford_cars" else [])


def test_a_set_that_is_there_as_a_tree_is_not_fetched(server: Server, card: Card, run: Run, root: Path) -> None:
    card()
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(image(7))
    code, out, _ = run()
    assert code == 0
    assert "nothing to fetch: it is there" in out
    assert not server.asked


def test_some_of_the_files_can_be_chosen(server: Server, card: Card, run: Run, root: Path) -> None:
    card({"name": "{a,b}_{08..10}.tar", "folder": "mine", "addresses": [f"{server.address}/x/{{file}}"]})
    for name in ("a_08", "a_10", "b_09"):
        server.put(f"/x/{name}.tar", TREE)
    code, out, _ = run("--only", "a_08.tar", "--only", "mine/a_1?.tar")
    assert code == 0
    assert "fetched in part, as chosen with --only; run-bench check mine says what is missing" in out
    assert names(root) == {"mine/a_08.tar", "mine/a_10.tar"}
    code, _, err = run("--only", "c.tar")
    assert code == 2
    assert err == "run-bench: --only c.tar: no file of mine, which has mine/{a,b}_{08..10}.tar\n"


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    server: Server, card: Card, run: Run, root: Path
) -> None:
    card({"bytes": 10**18}, {"name": "b.tar", "bytes": 10**18 + 1})
    code, _, err = run()
    assert code == 1
    assert "2 files need 2000000.0 TB; make room" in err
    assert not server.asked


def test_a_second_get_on_the_same_folder_is_refused(
    server: Server, card: Card, run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_lock, "_PATIENCE_S", 0.0)
    server.put("/tree.tar", TREE)
    card()
    with writer_lock.only_writer(root_made(root), stem=".get"):
        code, _, err = run("--unpack")
    assert code == 1
    assert "is being written by process " in err
    assert err.endswith("; wait for it, or name another --data-root\n")
    assert run("--unpack")[0] == 0


def root_made(root: Path) -> Path:
    root.mkdir()
    return root


@pytest.fixture(scope="module")
def images_and_labels() -> dict[str, bytes]:
    """Make files of CIFAR-10.1's shapes: its card states neither size nor digest."""
    files = {}
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), np.uint8)
    for name, array in (("data", pixels), ("labels", np.arange(2000, dtype=np.int64) % 10)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        files[f"/cifar10.1_v6_{name}.npy"] = buffer.getvalue()
    return files


def test_ten_kills_at_random_moments_and_then_it_is_whole(
    server: Server, images_and_labels: dict[str, bytes], root: Path, tmp_path: Path
) -> None:
    """Nothing ever bears the name of a file before it is whole, and every life goes on from the one before."""
    chance, sent = random.Random(3), deque([0])
    for path, content in images_and_labels.items():
        server.put(path, content, piece=1 << 14, pause=lambda: (time.sleep(0.001), sent.append(1)))
    command = ["get", "cifar10.1", "--data-root", str(root), "--mirror", server.address]
    lengths = {path.removeprefix("/"): len(content) for path, content in images_and_labels.items()}
    pieces = sum(lengths.values()) >> 14
    for number in range(10):
        goal = len(sent) + chance.randrange(1, pieces // 12)
        process = start_bench(command)
        while process.is_alive() and len(sent) < goal:
            time.sleep(0.001)
        assert process.is_alive(), f"it ended before kill {number}"
        process.kill()
        process.join()
        for path in root.rglob("*.npy"):
            assert path.stat().st_size == lengths[path.name]
    process = start_bench(command, tmp_path / "errors")
    process.join()
    assert process.exitcode == 0, (tmp_path / "errors").read_text()
    place = root / "CIFAR-10.1"
    assert {path.name: path.read_bytes() for path in place.glob("*.npy")} == {
        path.removeprefix("/"): content for path, content in images_and_labels.items()
    }
    assert not list(root.rglob("*.partial"))
    assert not any(path.name.startswith(".get") for path in root.iterdir())
    resumed = [text for text in server.ranges("/cifar10.1_v6_data.npy") if text]
    assert len(resumed) >= 5
    assert server.ranges("/cifar10.1_v6_data.npy").count("") <= 3, "killed before the first bytes came"


def test_cards_state_what_the_sources_state(shared: Path) -> None:
    """Address, size and digest of every file of the list of sources, where there is a card."""
    import csv

    compared = 0
    with (shared / "data_sources.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not (DATASETS / f"{row['set']}.yaml").is_file() or "(" in row["file"] or "{" in row["file"]:
                continue
            (found,) = [one for one in load_card(row["set"]).downloads if one.name == row["file"]]
            assert str(found.bytes or "") == row["bytes"], row
            assert not row["digest"] or row["digest"] in found.digests, row
            assert row["address"] in found.addresses or found.by_hand, row
            compared += 1
    assert compared >= 15
