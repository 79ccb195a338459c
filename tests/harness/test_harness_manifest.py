"""``run.yaml`` says what a run's numbers depend on; another run never goes on in its folder."""

from __future__ import annotations

import importlib.metadata
import re
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticSerializationError

from apm_tta.errors import UserError
from apm_tta.harness.compute.fingerprint import versions
from apm_tta.harness.storage.manifest import Manifest, Numbers, differences, refuse_other_run
from apm_tta.harness.storage.manifest_file import manifest_text, read_manifest, write_manifest
from apm_tta.harness.storage.records import SCHEMA_VERSION
from apm_tta.harness.storage.site import this_site

PLAIN: dict[str, Any] = {
    "numbers": {
        "suite": "demo",
        "dataset": {
            "name": "fashion-mnist",
            "ids": "paths in the tree",
            "classes": 3,
            "class_names": ["trouser", "dress", "T-shirt/top"],
            "reading": "published",
            "fingerprint": "0" * 64,
            "images": 50,
            "images_hashed": 50,
            "images_sha256": "2" * 64,
            "images_per_condition": 50,
            "several_labels": 0,
            "named_subset": None,
            "subset": "50 of 2000 images",
            "corruptions": "made as read",
            "corruption_parameters": "cifar",
            "corruption_frame": "28 x 28 as stored (the severities are for 32 x 32)",
            "corruption_seed": 0,
            "jpeg_quality": None,
        },
        "conditions": ["clean", "contrast 5"],
        "teacher": {"name": "embedded", "classifier": "text", "weights_sha256": "1" * 64, "architecture": "{}"},
        "methods": {
            "zeroshot": {"protocol": "episodic", "votes": False, "templates": "dataset", "sentences": ["a {}."]},
            "apm": {
                "protocol": "episodic",
                "votes": False,
                "templates": "simple",
                "sentences": ["a photo of a {}."],
                "learning_rate": 1e-4,
                "hidden": None,
                "readout": "token",
            },
        },
        "streams": "episodic",
        "crop_scale": [0.5, 1.0],
        "seeds": [0],
        "precision": "float32",
        "shard_size": 2000,
        "versions": {"apm-tta": "0.1.0", "record_schema": str(SCHEMA_VERSION), "torch": "2.14.1"},
        "revisions": {
            "engine": 1,
            "methods": {"zeroshot": 1, "apm": 1},
            "corruptions": {"digital": 1},
            "uncommitted": "none",
        },
        "foreign": None,
    },
    "title": "Demo: clean, and “corrupted”",
    "dataset_title": "Fashion-MNIST, “a part”",
    "notes": [],
    "command": ["run-bench", "demo"],
    "limit": 50,
    "left_out": {},
    "costs": {
        "apm": {
            "image_forwards": 1,
            "image_backwards": 0,
            "text_forwards": 0,
            "text_backwards": 0,
            "other": "20 iterations",
        }
    },
    "devices": ["auto"],
    "data_root": None,
    "prompts": None,
}
MANIFEST = Manifest.model_validate(PLAIN)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc-_ :'\"é", max_size=8), inner, max_size=3),
    max_leaves=8,
)


def changed(**numbers: Any) -> Numbers:
    return Numbers.model_validate({**deepcopy(PLAIN["numbers"]), **numbers})


def changed_method(name: str, **parameters: Any) -> Numbers:
    methods = deepcopy(PLAIN["numbers"]["methods"])
    methods[name].update(parameters)
    return changed(methods=methods)


@settings(max_examples=50)
@given(st.dictionaries(st.text("abc", min_size=1), plain, max_size=3))
def test_what_was_written_is_read_back(parameters: dict[str, Any]) -> None:
    """Values keep their types: "1e-4", 0.0001, "true", None and "null" all stay what they are."""
    manifest = MANIFEST.model_copy(update={"numbers": changed_method("apm", **parameters)})
    with TemporaryDirectory() as folder:
        write_manifest(Path(folder), manifest)
        assert read_manifest(Path(folder)) == manifest
        assert read_manifest(Path(folder)).numbers.methods["apm"].others == manifest.numbers.methods["apm"].others
        refuse_other_run(Path(folder), read_manifest(Path(folder)).numbers, manifest.numbers)


def test_keys_keep_their_order_and_nothing_else_is_left(tmp_path: Path) -> None:
    """The order of methods and conditions is the order of the table."""
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    read = yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8"))
    assert list(read) == ["schema", *PLAIN, "digests", "sha256"]
    assert {name: value for name, value in read.items() if name in PLAIN} == PLAIN
    assert list(read["numbers"]) == list(PLAIN["numbers"])
    assert list(read["numbers"]["methods"]["apm"]) == list(PLAIN["numbers"]["methods"]["apm"])
    assert [file.name for file in tmp_path.iterdir()] == ["run.yaml"]


def test_a_manifest_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    with pytest.raises((yaml.YAMLError, PydanticSerializationError)):
        write_manifest(tmp_path, MANIFEST.model_copy(update={"numbers": changed_method("apm", device=object())}))
    assert read_manifest(tmp_path) == MANIFEST


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_manifest(tmp_path / "file", MANIFEST)
    assert str(tmp_path / "file" / "run.yaml") in str(caught.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"{tmp_path} is not a run folder: it has no run.yaml")):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'nowhere'} does not exist")):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    [
        *("", "- a\n", "title: x\n", "numbers\n", "numbers: [\n", "numbers:\n", "schema: 2\nnumbers: {}\n"),
        *("schema: true\nnumbers: {}\n", "schema: 0x" + "f" * 9999 + "\nnumbers: {}\n", "numbers: !!bool maybe\n"),
        "schema: 2\nnumbers: &a [*a]\ndigests: {}\nsha256: x\n",
        "schema: 2\nnumbers: {a: 2024-01-01, 1: x, ? [b] : c}\ndigests: {}\nsha256: x\n",
        "schema: 2\nnumbers: {a: 2024-01-01, 1: x}\ndigests: {}\nsha256: x\n",
        "schema: 2\nnumbers: !!set {a, b}\ndigests: [1]\nsha256: x\n",
        "schema: 2\nnumbers: !!binary aGVsbG8=\ndigests: {1: 2}\nsha256: x\n",
        "numbers: " + "[" * 5000,
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    """Another program's run.yaml, or a damaged one."""
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    assert str(tmp_path / "run.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_was_cut_off_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    """As after a disk ran full: what is there is not taken for the whole. Only its last line break may be missing."""
    write_manifest(tmp_path, MANIFEST)
    whole = (tmp_path / "run.yaml").read_bytes()
    for keep in {*range(0, len(whole), 37), *range(len(whole) - 80, len(whole) - 1)}:
        (tmp_path / "run.yaml").write_bytes(whole[:keep])
        with pytest.raises(UserError, match=r"run\.yaml") as caught:
            read_manifest(tmp_path)
        assert "\n" not in str(caught.value)
    (tmp_path / "run.yaml").write_bytes(whole[:-1])
    assert read_manifest(tmp_path) == MANIFEST


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    """One bit in every 29th byte: it is refused, or was in a place that says nothing, such as the length of a line."""
    write_manifest(tmp_path, MANIFEST)
    whole = (tmp_path / "run.yaml").read_bytes()
    messages = []
    for position in range(0, len(whole), 29):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        (tmp_path / "run.yaml").write_bytes(damaged)
        try:
            assert read_manifest(tmp_path) == MANIFEST
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > len(whole) / 29 * 0.9
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("numbers.precision", "bfloat16"),
        ("numbers.teacher.weights_sha256", "2" * 64),
        ("numbers.methods.zeroshot.votes", True),
        ("numbers.methods.apm.hidden", [8]),
        ("numbers.seeds", [0, 1]),
        ("title", "Another title"),
        ("costs.apm.image_forwards", 7),
        ("limit", 51),
        ("limit", "50"),
    ],
)
def test_an_edit_by_hand_is_refused_and_named(tmp_path: Path, path: str, value: Any) -> None:
    write_manifest(tmp_path, MANIFEST)
    content = yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8"))
    inner = content
    *parents, last = path.split(".")
    for name in parents:
        inner = inner[name]
    inner[last] = value
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with pytest.raises(UserError, match=rf"run\.yaml was edited or damaged after the run wrote it: {path};"):
        read_manifest(tmp_path)


def test_edits_that_are_added_removed_many_or_of_digests_are_named(tmp_path: Path) -> None:
    def refusal(**changes: Any) -> str:
        write_manifest(tmp_path, MANIFEST)
        content = {**yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8")), **changes}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        with pytest.raises(UserError) as caught:
            read_manifest(tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert ": left_out.tent;" in refusal(left_out={"tent": "too slow"})
    assert ": costs.apm.image_forwards, costs.apm.image_backwards," in refusal(costs={})
    assert " and 22 more fields;" in refusal(more={f"field-{number}": number for number in range(30)})
    assert ": its digests;" in refusal(sha256="0" * 64)
    assert ": title;" in refusal(digests={**written_digests(tmp_path), "title": "0" * 12})
    long = refusal(**{"a\x1b[31m" + "b" * 500: 1})
    assert "\x1b" not in long
    assert len(long) < 500


def written_digests(folder: Path) -> dict[str, str]:
    content: dict[str, dict[str, str]] = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    return content["digests"]


def test_another_layout_of_the_same_content_is_read(tmp_path: Path) -> None:
    """An editor may break lines differently, and people write comments."""
    write_manifest(tmp_path, MANIFEST)
    content = yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8"))
    (tmp_path / "run.yaml").write_text(
        "# mine\n" + yaml.safe_dump(content, sort_keys=False, width=40), encoding="utf-8"
    )
    assert read_manifest(tmp_path) == MANIFEST


@pytest.mark.parametrize("path", ["numbers.dataset", "numbers.teacher.weights_sha256", "numbers.revisions", "costs"])
def test_a_manifest_that_lacks_a_field_is_another_versions(tmp_path: Path, path: str) -> None:
    content = deepcopy(PLAIN)
    *parents, last = path.split(".")
    inner = content
    for name in parents:
        inner = inner[name]
    del inner[last]
    (tmp_path / "run.yaml").write_text(manifest_text(content), encoding="utf-8")
    with pytest.raises(UserError, match=rf"is another version's \({path}: Field required\)") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_of_an_earlier_schema_is_refused_in_one_line(tmp_path: Path) -> None:
    """Of records, or of run.yaml itself, which then states none."""
    content = deepcopy(PLAIN)
    content["numbers"]["versions"]["record_schema"] = "4"
    (tmp_path / "run.yaml").write_text(manifest_text(content), encoding="utf-8")
    with pytest.raises(UserError, match=rf"is of record schema 4, this version reads {SCHEMA_VERSION}; the version of"):
        read_manifest(tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(PLAIN), encoding="utf-8")
    with pytest.raises(UserError, match="is not of schema 2, which this version reads; the apm-tta that wrote it"):
        read_manifest(tmp_path)


def test_the_fingerprint_is_of_the_numbers_alone() -> None:
    """Whatever the order of keys; a field with its default, which a later version may add, is not part of it."""
    fingerprint = MANIFEST.numbers.fingerprint
    assert re.fullmatch("[0-9a-f]{64}", fingerprint)
    reversed_keys = dict(reversed(PLAIN["numbers"].items()))
    assert Numbers.model_validate(reversed_keys).fingerprint == fingerprint
    sources = {**PLAIN["numbers"]["revisions"], "sources": {}}
    assert changed(revisions=sources).fingerprint == fingerprint
    for other in (changed(precision="bfloat16"), changed_method("apm", hidden=[8]), changed_method("apm", new=None)):
        assert other.fingerprint != fingerprint


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    refuse_other_run(tmp_path, MANIFEST.numbers, changed())
    assert differences(MANIFEST.numbers, changed()) == []


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"seeds": [1]}, ["seeds: [0] there, [1] now"]),
        ({"conditions": ["clean"]}, ["conditions: ['clean', 'contrast 5'] there, ['clean'] now"]),
        ({"conditions": ["contrast 5", "clean"]}, ["conditions: "]),
        (
            {"dataset": {**PLAIN["numbers"]["dataset"], "images_per_condition": 20}},
            ["dataset.images_per_condition: 50 there, 20 now"],
        ),
        (
            {"streams": {"setting": "iid", "reset": "corruption"}},
            ["streams: episodic there, absent now", "streams.reset: absent", "streams.setting: absent there, iid now"],
        ),
        (
            {
                "revisions": {
                    "engine": 2,
                    "methods": {"zeroshot": 1, "apm": 3},
                    "corruptions": {"digital": 2},
                    "uncommitted": "ab",
                }
            },
            [
                "revisions.engine: 1 there, 2 now",
                "revisions.methods.apm: 1 there, 3 now",
                "revisions.corruptions.digital: 1 there, 2 now",
                "revisions.uncommitted: none there, ab now",
            ],
        ),
    ],
)
def test_another_run_is_refused_and_every_differing_field_named(
    tmp_path: Path, numbers: dict[str, Any], says: list[str]
) -> None:
    """With both values, the folder, and what to do; fields that agree are not named."""
    with pytest.raises(UserError, match=r"holds another run .*choose another --out") as caught:
        refuse_other_run(tmp_path, MANIFEST.numbers, changed(**numbers))
    message = str(caught.value)
    assert str(tmp_path) in message
    assert all(part in message for part in says)
    assert message.count(" there, ") == len(says)


def test_a_parameter_of_another_value_is_named(tmp_path: Path) -> None:
    other = changed_method("apm", learning_rate=0.001, hidden=[8], readout="mean")
    with pytest.raises(UserError) as caught:
        refuse_other_run(tmp_path, MANIFEST.numbers, other)
    for part in (
        "methods.apm.learning_rate: 0.0001 there, 0.001 now",
        "methods.apm.hidden: None there, [8] now",
        "methods.apm.readout: token there, mean now",
    ):
        assert part in str(caught.value)


def test_a_parameter_that_a_method_did_not_have_had_its_default() -> None:
    """A commit that gives a method a parameter and changes no number by it stops no older run; another value does."""
    assert differences(MANIFEST.numbers, changed_method("apm", rgb_weight=0.0, compile=False)) == []
    assert differences(changed_method("apm", rgb_weight=0.0), MANIFEST.numbers) == []
    differing = differences(MANIFEST.numbers, changed_method("apm", rgb_weight=0.5))
    assert differing == ["methods.apm.rgb_weight: 0.0 there, 0.5 now"]


def test_runs_of_other_data_share_a_table_where_the_code_is_the_same() -> None:
    """Only versions and revisions that both have are compared: runs of other methods and corruptions have others."""
    other = changed(
        suite="imagenet",
        revisions={
            "engine": 1,
            "methods": {"zeroshot": 1, "tent": 7},
            "corruptions": {"noise": 4},
            "uncommitted": "none",
        },
    )
    assert MANIFEST.numbers.code_differences(other) == []
    edited = changed(revisions={**PLAIN["numbers"]["revisions"], "uncommitted": "ab"})
    assert MANIFEST.numbers.code_differences(edited) == ["revisions.uncommitted: none there, ab now"]
    newer = changed(versions={**PLAIN["numbers"]["versions"], "torch": "2.15"})
    assert MANIFEST.numbers.code_differences(newer) == ["versions.torch: 2.14.1 there, 2.15 now"]


def with_sources(methods: dict[str, dict[str, Any]] | None = None, **sources: dict[str, Any]) -> Numbers:
    """Return the numbers of a run with user-defined methods."""
    own = dict.fromkeys(sources, PLAIN["numbers"]["methods"]["zeroshot"])
    return changed(
        methods={**PLAIN["numbers"]["methods"], **own, **(methods or {})},
        revisions={**PLAIN["numbers"]["revisions"], "sources": sources},
    )


CELL = {"distribution": None, "version": "Python 3.11", "sha256": "a" * 64}
PLUGIN = {"distribution": "plugin", "version": "1.0", "sha256": "a" * 64}
EDITED = "(method mine was edited, or something that it refers to)"


@pytest.mark.parametrize(
    ("there", "now", "says"),
    [
        (CELL, CELL, []),
        (
            CELL,
            {**CELL, "sha256": "b" * 64},
            [f"revisions.sources.mine.sha256: {'a' * 64} there, {'b' * 64} now {EDITED}"],
        ),
        (
            PLUGIN,
            {**PLUGIN, "version": "1.1"},
            ["revisions.sources.mine.version: 1.0 there, 1.1 now"],
        ),
        (
            CELL,
            PLUGIN,
            [
                "revisions.sources.mine.distribution: None there, plugin now",
                "revisions.sources.mine.version: Python 3.11 there, 1.0 now",
            ],
        ),
    ],
)
def test_the_code_of_ones_own_method_is_part_of_what_a_number_depends_on(
    tmp_path: Path, there: dict[str, Any], now: dict[str, Any], says: list[str]
) -> None:
    """Between runs, and between tables."""
    old, new = with_sources(mine=there), with_sources(mine=now)
    assert differences(old, new) == old.code_differences(new) == says
    if says:
        with pytest.raises(UserError, match=re.escape(says[-1])):
            refuse_other_run(tmp_path, old, new)


def test_a_run_of_before_there_were_sources_is_read_and_resumed(tmp_path: Path) -> None:
    """Where it has no user-defined method; where it has one, nobody can say which code answered."""
    write_manifest(tmp_path, MANIFEST)
    assert "sources" not in (tmp_path / "run.yaml").read_text()
    before = read_manifest(tmp_path).numbers
    assert differences(before, changed(revisions={**PLAIN["numbers"]["revisions"], "sources": {}})) == []
    own = {"mine": PLAIN["numbers"]["methods"]["zeroshot"]}
    old = with_sources(methods=own)
    new = with_sources(mine=CELL)
    says = [
        "revisions.sources.mine.distribution: absent there, None now",
        f"revisions.sources.mine.sha256: absent there, {'a' * 64} now",
        "revisions.sources.mine.version: absent there, Python 3.11 now",
    ]
    assert differences(old, new) == old.code_differences(new) == says


def test_methods_that_only_one_of_two_runs_has_keep_them_in_one_table() -> None:
    """As it is with revisions."""
    assert MANIFEST.numbers.code_differences(with_sources(mine=CELL)) == []
    assert with_sources(mine=CELL).code_differences(with_sources(other={**CELL, "sha256": "c" * 64})) == []


def test_sources_are_written_and_read_back(tmp_path: Path) -> None:
    manifest = MANIFEST.model_copy(update={"numbers": with_sources(mine=CELL, bought=PLUGIN)})
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    written = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert written["numbers"]["revisions"]["sources"] == {"mine": CELL, "bought": PLUGIN}


def test_versions_state_this_package_and_every_library_that_computes_a_number() -> None:
    found = versions({"architecture": "{}"})
    assert found["apm-tta"] == importlib.metadata.version("apm-tta")
    assert found["record_schema"] == str(SCHEMA_VERSION)
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert {"scipy", "scikit-image", "ftfy", "regex", "pillow", "libjpeg"} <= found.keys()
    assert not {"transformers", "tokenizers"} & found.keys()
    assert {"transformers", "tokenizers"} <= versions({"architecture": '{"hf_tokenizer_name": "x"}'}).keys()
    assert all(isinstance(value, str) and value for value in found.values())


def test_a_site_is_what_the_process_finds() -> None:
    found = this_site(torch.device("cpu"))
    assert (found.device_type, found.threads) == ("cpu", torch.get_num_threads())
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", found.commit)
    assert re.fullmatch(r"[0-9a-f]{64}", found.source_sha256)
    digest = f" (source {found.source_sha256[:12]})"
    assert found.model_copy(update={"commit": "5ab2f0de3791" * 2}).code == "5ab2f0de3791"
    assert found.model_copy(update={"commit": "5ab2f0de3791" * 2 + "-dirty"}).code == f"5ab2f0de3791-dirty{digest}"
    assert found.model_copy(update={"commit": "unknown"}).code == f"unknown{digest}"
    assert found.hardware == f"{found.device_name}, {found.threads} thread{'' if found.threads == 1 else 's'}"
    assert found.model_copy(update={"device": "cuda:1"}).device_type == "cuda"
