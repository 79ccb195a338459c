"""Which code runs: its commit where its files are exactly that commit's, and its content everywhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

import apm_tta
from apm_tta.errors import UserError
from apm_tta.harness.storage import code_identity
from apm_tta.package_commit import PackageCode, package_code
from apm_tta.package_files import AT_IMPORT, content, files_sha256, package_files

PACKAGE = Path(apm_tta.__file__).parent
NEEDED = (
    *("__init__.py", "errors.py", "wording.py", "package_files.py", "package_commit.py"),
    *("harness/__init__.py", "harness/storage/__init__.py", "harness/storage/code_identity.py"),
)
LAID_OUT = {
    "apm_tta/methods/a.py": "ONE = 1\n",
    "datasets/a.yaml": "name: set\n",
    "benchmarks/suites/a.yaml": "name: suite\n",
    "pyproject.toml": '[project]\nname = "apm-tta"\n',
}
ASK = """
from apm_tta.harness.storage import code_identity

print(code_identity.commit(), code_identity.uncommitted(), code_identity.source_sha256())
"""


def git(folder: Path, *words: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Lay out the source as an archive has it: as much of the package as tells which code it is, and one method."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path / "source"
    for name in NEEDED:
        (root / "apm_tta" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, root / "apm_tta" / name)
    for name, text in LAID_OUT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def checkout(tree: Path) -> Path:
    commit_all(tree)
    return tree


def code(root: Path) -> PackageCode:
    return package_code(root / "apm_tta")


def replace(file: Path, before: str, after: str) -> None:
    file.write_bytes(file.read_bytes().replace(before.encode(), after.encode()))


def said(path: Path, before: str = "", **variables: str) -> list[str]:
    """Ask the package at ``path`` in a process of its own for commit, what sets it apart, and digest."""
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{ASK}"],
        capture_output=True,
        text=True,
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "", **variables},
    )
    return done.stdout.split() or [done.stderr.strip().splitlines()[-1]]


def test_a_checkout_is_its_commit_until_a_file_that_decides_differs(checkout: Path) -> None:
    """Other line ends, notes beside the package and hidden files are no difference; everything is found by content."""
    head = git(checkout, "rev-parse", "HEAD")
    clean = PackageCode(head, True, code(checkout).sha256)
    (checkout / "notes.txt").write_text("not part of the program")
    (checkout / "datasets" / "README.md").write_text("no card")
    (checkout / "apm_tta" / ".hidden").write_text("of an editor")
    (checkout / "apm_tta" / "methods" / "a.py~").write_text("of an editor")
    replace(checkout / "apm_tta" / "methods" / "a.py", "\n", "\r\n")
    assert code(checkout) == clean


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "apm_tta" / "methods" / "a.py").write_text("ONE = 2\n"),
        lambda root: (root / "apm_tta" / "methods" / "mine.py").write_text("ONE = 2\n"),
        lambda root: (root / "apm_tta" / "methods" / "mine.pyc").write_bytes(b"byte code without a source"),
        lambda root: (root / "apm_tta" / "methods" / "a.py").unlink(),
        lambda root: (root / "datasets" / "a.yaml").write_text("name: other\n"),
        lambda root: (root / "benchmarks" / "suites" / "b.yaml").write_text("name: other\n"),
    ],
    ids=["edited", "untracked", "byte code", "deleted", "card", "suite"],
)
@pytest.mark.parametrize("hidden", ["seen", "ignored", "assumed unchanged", "not in the work tree", "staged"])
def test_whatever_differs_decides_though_git_does_not_say_so(
    hidden: str, change: Callable[[Path], object], checkout: Path
) -> None:
    clean = code(checkout)
    tracked = git(checkout, "ls-files").splitlines()
    if hidden == "ignored":
        (checkout / ".git" / "info" / "exclude").write_text("*\n")
    elif hidden == "assumed unchanged":
        git(checkout, "update-index", "--assume-unchanged", *tracked)
    elif hidden == "not in the work tree":
        git(checkout, "update-index", "--skip-worktree", *tracked)
    change(checkout)
    if hidden == "staged":
        git(checkout, "add", "--all", "--force")
    changed = code(checkout)
    assert changed.commit == clean.commit
    assert not changed.is_commit
    assert changed.sha256 != clean.sha256


HOOKS = {
    "GIT_DIR": "{other}/.git",
    "GIT_WORK_TREE": "{other}",
    "GIT_INDEX_FILE": "{other}/.git/index",
    "GIT_OBJECT_DIRECTORY": "{other}/.git/objects",
    "GIT_CEILING_DIRECTORIES": "/",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_GLOBAL": "{other}/nothing",
    "GIT_NAMESPACE": "other",
}


@pytest.mark.parametrize("names", [[name] for name in HOOKS] + [list(HOOKS)], ids=lambda names: "+".join(names)[:30])
def test_the_variables_of_somebody_s_hook_lead_nowhere(
    names: list[str], checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = code(checkout)
    other = tmp_path / "other"
    other.mkdir()
    (other / "README").write_text("another project")
    assert commit_all(other) != expected.commit
    for name in names:
        monkeypatch.setenv(name, HOOKS[name].format(other=other))
    assert code(checkout) == expected


def test_a_copy_in_somebody_else_s_repository_is_of_no_commit(checkout: Path, tmp_path: Path) -> None:
    """At its root, deeper, or where its own repository is damaged: that of the folder around it is not asked."""
    expected = PackageCode(None, False, code(checkout).sha256)
    outer = tmp_path / "outer"
    for root in (outer, outer / "third_party"):
        shutil.copytree(checkout, root, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True)
    (outer / "pyproject.toml").write_text('[project]\nname = "outer"\n')
    commit_all(outer)
    assert code(outer) == expected
    assert code(outer / "third_party") == expected
    (outer / "third_party" / ".git").mkdir()
    assert code(outer / "third_party") == expected
    (outer / "third_party" / ".git").rmdir()
    (outer / "third_party" / ".git").write_text("gitdir: nowhere\n")
    assert code(outer / "third_party") == expected


def test_archives_are_told_by_their_content(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies of one source are one code, of two sources two; so it is where git is missing or does not answer."""
    one, two = tmp_path / "one", tmp_path / "two"
    for copied in (one, two):
        shutil.copytree(checkout, copied, ignore=shutil.ignore_patterns(".git"))
    assert code(one) == code(two) == PackageCode(None, False, code(checkout).sha256)
    replace(two / "apm_tta" / "methods" / "a.py", "1", "2")
    assert code(one) != code(two)
    monkeypatch.setenv("PATH", "/nowhere")
    assert code(checkout) == code(one)


def test_worktrees_and_links_are_the_checkout(checkout: Path, tmp_path: Path) -> None:
    expected = code(checkout)
    git(checkout, "worktree", "add", "--quiet", str(tmp_path / "tree"))
    assert (tmp_path / "tree" / ".git").is_file()
    assert code(tmp_path / "tree") == expected
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "apm_tta").symlink_to(checkout / "apm_tta")
    commit, uncommitted, digest = said(tmp_path / "linked")
    assert (commit, uncommitted, digest) == (expected.commit, "none", expected.sha256)


def test_a_wheel_is_the_commit_that_it_was_built_from_until_it_is_edited(checkout: Path, tmp_path: Path) -> None:
    """Its files have the digest of the checkout, though its cards lie elsewhere."""
    built = code(checkout)
    installed = tmp_path / "site-packages" / "apm_tta"
    shutil.copytree(checkout / "apm_tta", installed)
    for folder in ("datasets", "benchmarks"):
        shutil.copytree(checkout / folder, installed / "_resources" / folder)
    (tmp_path / "site-packages" / "datasets").mkdir()
    (tmp_path / "site-packages" / "datasets" / "__init__.py").write_text("of another distribution")
    assert code(installed.parent) == PackageCode(None, False, built.sha256)
    stated = installed / "_resources" / "built_from.json"
    stated.write_text(json.dumps({"commit": built.commit, "sha256": built.sha256}))
    assert code(installed.parent) == built
    (installed / "_resources" / "datasets" / "a.yaml").write_text("name: other\n")
    edited = code(installed.parent)
    assert (edited.commit, edited.is_commit) == (built.commit, False)
    assert edited.sha256 != built.sha256
    stated.write_text("{}")
    assert code(installed.parent).commit is None


def test_what_is_recorded_of_a_process_under_a_hook(checkout: Path, tmp_path: Path) -> None:
    """In words: the commit, with a mark where the files are others, or that there is none."""
    clean = code(checkout)
    hook = {"GIT_DIR": str(tmp_path / "nothing"), "GIT_INDEX_FILE": str(tmp_path / "index")}
    assert said(checkout, **hook) == [clean.commit, "none", clean.sha256]
    replace(checkout / "apm_tta" / "methods" / "a.py", "1", "2")
    edited = code(checkout)
    assert said(checkout, **hook) == [f"{clean.commit}-dirty", edited.sha256, edited.sha256]
    shutil.rmtree(checkout / ".git")
    assert said(checkout) == ["unknown", edited.sha256, edited.sha256]


def test_a_package_in_an_archive_is_the_archive(tree: Path, tmp_path: Path) -> None:
    digests = set()
    for version in (1, 2):
        with ZipFile(tmp_path / f"{version}.zip", "w") as archive:
            for name, path in package_files(tree / "apm_tta").items():
                archive.writestr(name, content(path) + b"\n" * version)
        commit, uncommitted, _ = said(tmp_path / f"{version}.zip")
        assert commit == "unknown"
        digests.add(uncommitted)
    assert len(digests) == 2


def test_byte_code_of_another_source_is_refused(checkout: Path) -> None:
    """Python takes byte code by the time and the size of its source, which an archive or a copy may keep."""
    module = checkout / "apm_tta" / "errors.py"
    assert said(checkout)[1] == "none"
    before = module.stat()
    replace(module, "DAMAGED = 3", "DAMAGED = 4")
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    (line,) = said(checkout)
    assert "errors.cpython-" in line
    assert "is byte code of another errors.py of the same time and size: delete it" in line
    shutil.rmtree(checkout / "apm_tta" / "__pycache__")
    assert said(checkout)[0].endswith("-dirty")
    os.chmod(module, 0o600)  # noqa: PTH101  a change of the file, and not of its content
    assert said(checkout)[0].endswith("-dirty")


def test_a_module_of_the_package_from_elsewhere_is_a_difference(checkout: Path, tmp_path: Path) -> None:
    """A folder that was added to the package's path holds code of that name, too."""
    expected = code(checkout)
    (tmp_path / "elsewhere").mkdir()
    digests = set()
    for number in (1, 2):
        (tmp_path / "elsewhere" / "other.py").write_text("NUMBER = 1\n" * number)
        add = f"import apm_tta; apm_tta.__path__.append({str(tmp_path / 'elsewhere')!r}); import apm_tta.other"
        commit, uncommitted, _ = said(checkout, add)
        assert commit == f"{expected.commit}-dirty"
        digests.add(uncommitted)
    assert len({*digests, expected.sha256}) == 3


def test_what_was_edited_after_the_import_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code in memory is then not the files'."""
    code_identity.refuse_edited_code()
    path, stamp = next(iter(AT_IMPORT.items()))
    monkeypatch.setitem(AT_IMPORT, path, stamp._replace(size=stamp.size + 1))
    with pytest.raises(UserError, match="was edited after it was imported: start Python again") as refused:
        code_identity.refuse_edited_code()
    assert str(refused.value).startswith(path)


def test_this_package_is_what_its_files_are() -> None:
    expected = files_sha256({name: content(path) for name, path in package_files(PACKAGE).items()})
    assert code_identity.source_sha256() == expected
    assert code_identity.uncommitted() in (expected, code_identity.NO_CHANGES)
