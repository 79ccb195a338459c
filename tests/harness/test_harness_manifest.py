"""``run.yaml`` says what a run's numbers depend on; another run never goes on in its folder."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import apm_tta
from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import (
    commit,
    environment,
    read_manifest,
    refuse_other_run,
    versions,
    write_manifest,
)
from apm_tta.harness.storage.records import SCHEMA_VERSION

MANIFEST: dict[str, Any] = {
    "numbers": {
        "dataset": {"name": "fashion-mnist", "images_a_condition": 50},
        "conditions": ["clean", "contrast 5"],
        "methods": {"apm": {"learning_rate": 1e-4, "hidden": None, "readout": "token"}},
        "seed": 0,
    },
    "title": "Demo: clean, and “corrupted”",
    "environment": {"started": "2024-01-01T00:00:00+00:00", "threads": 2},
}
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc-_ :'\"é", max_size=8), inner, max_size=3),
    max_leaves=8,
)


def changed(**numbers: Any) -> dict[str, Any]:
    other = deepcopy(MANIFEST)
    other["numbers"].update(numbers)
    return other


@settings(max_examples=50)
@given(st.dictionaries(st.text("abc", min_size=1), plain, max_size=3))
def test_what_was_written_is_read_back(numbers: dict[str, Any]) -> None:
    """Values keep their types: "1e-4", 0.0001, "true", None and "null" all stay what they are."""
    manifest = {"numbers": numbers, "title": "x"}
    with TemporaryDirectory() as folder:
        write_manifest(Path(folder), manifest)
        assert read_manifest(Path(folder)) == manifest
        refuse_other_run(Path(folder), read_manifest(Path(folder)), manifest)


def test_keys_keep_their_order_and_nothing_else_is_left(tmp_path: Path) -> None:
    """The order of methods and conditions is the order of the table."""
    write_manifest(tmp_path, MANIFEST)
    read = read_manifest(tmp_path)
    assert read == MANIFEST
    assert list(read) == list(MANIFEST)
    assert list(read["numbers"]) == list(MANIFEST["numbers"])
    assert [file.name for file in tmp_path.iterdir()] == ["run.yaml"]


def test_a_manifest_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    with pytest.raises(yaml.YAMLError):
        write_manifest(tmp_path, {"numbers": {"device": object()}})
    assert read_manifest(tmp_path) == MANIFEST


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_manifest(tmp_path / "file", MANIFEST)
    assert str(tmp_path / "file" / "run.yaml") in str(caught.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"is not a run folder: it has no run\.yaml") as caught:
            read_manifest(folder)
        assert str(folder) in str(caught.value)


@pytest.mark.parametrize("content", ["", "- a\n", "title: x\n", "numbers\n", "numbers: [\n"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    """Another program's run.yaml, or a damaged one."""
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path / "run.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    """Where and when it ran, and its title, decide no number."""
    later = deepcopy(MANIFEST)
    later["environment"] = {"started": "2031-01-01T00:00:00+00:00", "threads": 64, "device": "cuda"}
    later["title"] = "another"
    refuse_other_run(tmp_path, MANIFEST, later)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"seed": 1}, ["seed: 0 there, 1 now"]),
        ({"conditions": ["clean"]}, ["conditions: ['clean', 'contrast 5'] there, ['clean'] now"]),
        ({"conditions": ["contrast 5", "clean"]}, ["conditions: "]),
        (
            {"dataset": {"name": "fashion-mnist", "images_a_condition": 20}},
            ["dataset.images_a_condition: 50 there, 20 now"],
        ),
        ({"precision": "bfloat16"}, ["precision: absent there, bfloat16 now"]),
        (
            {"methods": {"apm": {"learning_rate": 0.001, "hidden": [8], "readout": "mean"}}, "seed": 5},
            [
                "methods.apm.learning_rate: 0.0001 there, 0.001 now",
                "methods.apm.hidden: None there, [8] now",
                "methods.apm.readout: token there, mean now",
                "seed: 0 there, 5 now",
            ],
        ),
    ],
)
def test_another_run_is_refused_and_every_differing_field_named(
    tmp_path: Path, numbers: dict[str, Any], says: list[str]
) -> None:
    """With both values, the folder, and what to do; fields that agree are not named."""
    with pytest.raises(UserError, match=r"holds another run .*choose another --out") as caught:
        refuse_other_run(tmp_path, MANIFEST, changed(**numbers))
    message = str(caught.value)
    assert str(tmp_path) in message
    assert all(part in message for part in says)
    assert message.count(" there, ") == len(says)


def test_a_field_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="precision: float32 there, absent now"):
        refuse_other_run(tmp_path, changed(precision="float32"), MANIFEST)


def test_versions_state_this_package_and_what_computed_the_numbers() -> None:
    found = versions()
    assert found["apm-tta"] == importlib.metadata.version("apm-tta")
    assert found["record_schema"] == str(SCHEMA_VERSION)
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert re.fullmatch(r"released|unknown|[0-9a-f]{40}(-dirty)?", found["commit"])
    assert all(isinstance(value, str) and value for value in found.values())


def test_the_environment_is_plain_data_that_yaml_takes() -> None:
    found = environment(torch.device("cpu"))
    assert yaml.safe_load(yaml.safe_dump(found)) == found
    assert (found["device"], found["threads"]) == ("cpu", torch.get_num_threads())
    assert found["device_name"]


def test_the_commit_is_the_checkouts_and_says_when_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a repository of its own: no repository, broken, clean, changed; a file that git does not know is no change."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    module = tmp_path / "apm_tta" / "__init__.py"
    module.parent.mkdir()
    module.write_text("")
    monkeypatch.setattr(apm_tta, "__file__", str(module))

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert commit() == "released"
    git("init", "--quiet")
    assert commit() == "unknown"
    git("add", ".")
    git("commit", "--quiet", "--message", "x")
    head = git("rev-parse", "HEAD")
    assert commit() == head
    (tmp_path / "notes.txt").write_text("not known to git")
    assert commit() == head
    module.write_text("CHANGED = True\n")
    assert commit() == f"{head}-dirty"
