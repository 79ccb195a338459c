"""Which code runs: its commit, and a digest of whatever sets it apart from every commit and release."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import apm_tta
from apm_tta.harness.storage import code_identity


class Checkout:
    """A source tree of its own, in which the package seems to lie."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            monkeypatch.delenv(name, raising=False)
        self.root, self.module = root, root / "apm_tta" / "__init__.py"
        self.module.parent.mkdir()
        self.module.write_text("")
        monkeypatch.setattr(apm_tta, "__file__", str(self.module))
        monkeypatch.setattr("importlib.metadata.files", lambda _name: None)

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(self.root), *who, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    def identity(self) -> tuple[str, str]:
        code_identity.commit.cache_clear()
        code_identity.uncommitted.cache_clear()
        return code_identity.commit(), code_identity.uncommitted()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    yield Checkout(tmp_path, monkeypatch)
    monkeypatch.undo()
    code_identity.commit.cache_clear()
    code_identity.uncommitted.cache_clear()


def test_the_commit_is_the_checkouts_and_every_difference_has_its_own_digest(checkout: Checkout) -> None:
    """No repository, broken, clean, changed in two ways, with a new method that git does not know; and back again."""
    assert checkout.identity()[0] == "released"
    checkout.git("init", "--quiet")
    assert checkout.identity()[0] == "unknown"
    checkout.git("add", ".")
    checkout.git("commit", "--quiet", "--message", "x")
    head = checkout.git("rev-parse", "HEAD")
    assert checkout.identity() == (head, "none")
    (checkout.root / "notes.txt").write_text("not part of the program")
    assert checkout.identity() == (head, "none")
    digests = set()
    for content in ("ONE = 1\n", "TWO = 2\n"):
        checkout.module.write_text(content)
        commit, digest = checkout.identity()
        assert commit == f"{head}-dirty"
        digests.add(digest)
    checkout.module.write_text("")
    method = checkout.module.with_name("mine.py")
    for content in ("ONE = 1\n", "TWO = 2\n"):
        method.write_text(content)
        digests.add(checkout.identity()[1])
    assert len(digests) == 4
    method.unlink()
    assert checkout.identity() == (head, "none")


def test_a_source_tree_outside_a_checkout_is_told_by_its_content(checkout: Checkout) -> None:
    """An archive of the source has no commit: edited between two parts of a run, it is other code."""
    commit, before = checkout.identity()
    checkout.module.write_text("EDITED = True\n")
    assert commit == "released"
    assert before != "none"
    assert checkout.identity()[1] not in (before, "none")


def test_an_installed_package_is_the_release_until_a_file_is_edited(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the digests that the wheel itself lists."""

    def recorded(_name: str) -> list[Any]:
        digest = base64.urlsafe_b64encode(hashlib.sha256(b"").digest()).rstrip(b"=").decode()
        file_hash = SimpleNamespace(mode="sha256", value=digest)
        return [SimpleNamespace(hash=file_hash, locate=lambda: checkout.module)]

    monkeypatch.setattr("importlib.metadata.files", recorded)
    assert checkout.identity() == ("released", "none")
    checkout.module.write_text("EDITED = True\n")
    assert checkout.identity()[1] != "none"
