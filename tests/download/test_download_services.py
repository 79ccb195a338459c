"""Hugging Face and Google Drive through their own libraries, which ask a server on this machine.

What is real: the libraries, HTTP, resuming, and what becomes of the files. What is not: the two services, whose answers
the server gives as their public clients expect them; Hugging Face's newer way of storage (Xet) is not tested.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import requests
from download_server import Handler, Served, Server

from apm_tta.data.downloads import Download
from apm_tta.data.file_digests import Records
from apm_tta.download.fetch import Place, bring
from apm_tta.download.hub import files_of_repository
from apm_tta.download.transfer import NeedsPerson, Persistence, Refused

CONTENT = b"".join(hashlib.sha256(number.to_bytes(3, "big")).digest() for number in range(50_000))
"""1.6 MB: gdown loses up to half a megabyte where a connection breaks off."""
HALF = 1_200_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = 40 * "c"
QUICK = Persistence(timeout_s=0.5, retries=1, sleep=lambda _: None)


def get(root: Path, address: str, digest: str = f"sha256:{SHA256}") -> tuple[Path, list[str]]:
    """Bring the file, and return its path and what was said."""
    root.mkdir(exist_ok=True)
    file = Download(name="x.bin", addresses=(address,), digests={digest: "me"} if digest else {}, stated_by="me")
    said: list[str] = []
    bring(Place(root / "x.bin", file, Records(root)), said.append, QUICK)
    return root / "x.bin", said


def cut(handler: Handler, served: Served) -> None:
    handler.answer(200, served.content[:HALF], handler.of(served), length=len(served.content))


# ---- Hugging Face


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Let ``huggingface_hub`` ask the server."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    return server


def put_on_hub(server: Server) -> Served:
    headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(CONTENT))}
    served = server.put("/datasets/who/what/resolve/main/data/x.bin", CONTENT, etag=f'"{SHA256}"', headers=headers)
    server.files[AT_COMMIT] = served
    return served


AT_COMMIT = f"/datasets/who/what/resolve/{COMMIT}/data/x.bin"
ON_HUB = "https://huggingface.co/datasets/who/what/resolve/main/data/x.bin"


def asked(server: Server) -> list[tuple[str, str | None]]:
    """Return what was asked of the data set, each with who asked."""
    return [(name, headers.get("Authorization")) for name, headers in server.asked if name.startswith("/datasets/")]


def test_a_file_of_the_hub_is_asked_for_through_its_library(hub: Server, tmp_path: Path) -> None:
    put_on_hub(hub)
    path, said = get(tmp_path, ON_HUB)
    assert path.read_bytes() == CONTENT
    assert said[-1].startswith("whole, 1.6 MB; as stated by me")
    assert {file.name for file in tmp_path.iterdir()} == {"x.bin", ".downloads.jsonl"}
    assert asked(hub) == [(AT_COMMIT.replace(COMMIT, "main"), None), (AT_COMMIT, None)]


def test_whoever_has_logged_in_asks_under_that_name(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_hub(hub)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_mine")
    get(tmp_path, ON_HUB)
    assert asked(hub) == [(AT_COMMIT.replace(COMMIT, "main"), "Bearer hf_mine"), (AT_COMMIT, "Bearer hf_mine")]


def test_the_hub_states_the_digest_where_nobody_else_does(hub: Server, tmp_path: Path) -> None:
    served = put_on_hub(hub)
    assert get(tmp_path, ON_HUB, "")[1][-1].startswith("whole, 1.6 MB; as stated by the hub; sha256 ")
    served.content = CONTENT[::-1]
    with pytest.raises(Refused, match=r"what came has sha256 .*, expected .* \(the hub\)"):
        get(tmp_path / "again", ON_HUB, "")


def test_what_broke_off_at_the_hub_is_gone_on_with_in_another_attempt(hub: Server, tmp_path: Path) -> None:
    served = put_on_hub(hub)
    head = lambda handler, served: handler.answer(200, served.content, handler.of(served))  # noqa: E731
    served.faults.extend([head, cut, *[lambda handler, _: handler.answer(404, b"", {})] * 9])
    with pytest.raises(Refused, match="it answers 404"):
        get(tmp_path, ON_HUB)
    assert not (tmp_path / "x.bin").exists()
    served.faults.clear()
    path, _ = get(tmp_path, ON_HUB)
    assert path.read_bytes() == CONTENT
    assert hub.ranges(AT_COMMIT)[-1].startswith("bytes=1")


@pytest.mark.parametrize(
    ("code", "status", "kind", "says"),
    [
        ("GatedRepo", 403, NeedsPerson, "accept the terms at https://huggingface.co/datasets/who/what, make a token"),
        ("RepoNotFound", 401, Refused, "the hub does not have it, or only for those who have logged in"),
        ("EntryNotFound", 404, Refused, "the hub does not have it"),
    ],
)
def test_what_the_hub_refuses_is_said_with_its_steps(
    hub: Server, tmp_path: Path, code: str, status: int, kind: type[Exception], says: str
) -> None:
    refusal = {"X-Error-Code": code, "X-Error-Message": "no"}
    put_on_hub(hub).faults.extend([lambda handler, _: handler.answer(status, b"", refusal)] * 9)
    with pytest.raises(kind, match=says):
        get(tmp_path, ON_HUB)


def test_a_whole_repository_is_listed_at_one_revision_with_sizes_and_digests(hub: Server) -> None:
    api = "/api/datasets/who/what"
    hub.put(
        api, json.dumps({"id": "who/what", "sha": COMMIT, "tags": []}).encode(), headers={"Content-Type": "text/json"}
    )
    tree: list[dict[str, Any]] = [
        {"type": "directory", "path": "data", "oid": "1", "size": 0},
        {"type": "file", "path": "README.md", "oid": "2", "size": 7},
        {"type": "file", "path": "data/b.parquet", "oid": "4", "size": 9},
    ]
    lfs = {"oid": SHA256, "size": len(CONTENT), "pointerSize": 134}
    tree.append({"type": "file", "path": "data/a.parquet", "oid": "3", "size": len(CONTENT), "lfs": lfs})
    hub.put(f"{api}/tree/{COMMIT}", json.dumps(tree).encode(), headers={"Content-Type": "text/json"})
    asked = Download(name="data/*.parquet", folder="it", addresses=("hf://datasets/who/what",), stated_by="me")
    files = {file.name: file for file in files_of_repository(asked)}
    assert set(files) == {"data/a.parquet", "data/b.parquet"}
    assert files["data/a.parquet"].bytes == len(CONTENT)
    assert files["data/a.parquet"].digests == {f"sha256:{SHA256}": "the hub's list of who/what"}
    assert files["data/b.parquet"].digests == {}
    assert files["data/b.parquet"].addresses == (
        f"https://huggingface.co/datasets/who/what/resolve/{COMMIT}/data/b.parquet",
    )


# ---- Google Drive

ON_DRIVE = "https://drive.google.com/uc?id=1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA"
FORM = """<html><body><form id="download-form" action="https://drive.google.com/download" method="get">
<input type="hidden" name="id" value="1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA"><input type="hidden" name="confirm" value="t">
</form></body></html>"""


@pytest.fixture
def drive(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Let whatever asks Drive ask the server, over the same HTTP."""
    send = requests.adapters.HTTPAdapter.send

    def redirected(self: Any, request: Any, **options: Any) -> Any:
        request.url = request.url.replace("https://drive.google.com", server.address)
        return send(self, request, **options)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", redirected)
    server.put("/uc", FORM.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
    return server


def put_on_drive(server: Server, content: bytes = CONTENT) -> Served:
    return server.put("/download", content, headers={"Content-Disposition": 'attachment; filename="another name"'})


def test_a_file_of_drive_comes_past_the_page_that_asks(drive: Server, tmp_path: Path) -> None:
    put_on_drive(drive).faults.append(cut)
    path, _ = get(tmp_path, ON_DRIVE)
    assert path.read_bytes() == CONTENT
    assert [name for name, _ in drive.asked] == ["/uc", "/download", "/download"]
    assert {file.name for file in tmp_path.iterdir()} == {"x.bin", ".downloads.jsonl"}


@pytest.mark.parametrize("digest", [f"sha256:{SHA256}", ""])
def test_another_attempt_goes_on_only_where_a_digest_can_tell(drive: Server, tmp_path: Path, digest: str) -> None:
    served = put_on_drive(drive)
    served.faults.extend([cut, *[lambda handler, _: handler.answer(500, b"", {})] * 9])
    with pytest.raises(Refused, match="Google Drive"):
        get(tmp_path, ON_DRIVE, digest)
    assert not (tmp_path / "x.bin").exists()
    served.faults.clear()
    before = len(drive.asked)
    path, _ = get(tmp_path, ON_DRIVE, digest)
    assert path.read_bytes() == CONTENT
    ranges = [headers.get("Range", "") for name, headers in drive.asked[before:] if name == "/download"]
    assert any(ranges) == bool(digest)


def test_a_file_that_drive_keeps_to_itself_is_refused_in_one_line(drive: Server, tmp_path: Path) -> None:
    page = b'<html><p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>'
    drive.put("/uc", page, headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(Refused, match="it is not public, or was fetched too often today") as caught:
        get(tmp_path, ON_DRIVE)
    assert "\n" not in str(caught.value)
