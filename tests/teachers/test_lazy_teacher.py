"""A second run reads entries from disk, and computes them again only when something changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.errors import UserError
from apm_tta.teachers import TEMPLATES, default_cache, disk_cache, load_teacher, open_clip_tokenizer
from apm_tta.teachers.embedded import FOLDERS

State = dict[str, Tensor]

CLASSES = ("cat", "dog")
SIMPLE = TEMPLATES["simple"]
KIND = "ViT-of-a-test"


@pytest.fixture(scope="module", autouse=True)
def small_architecture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give open_clip one more architecture, a small one: the models of this file take no time and no memory."""
    path = tmp_path_factory.mktemp("architectures") / f"{KIND}.json"
    path.write_text(json.dumps(json.loads((FOLDERS["embedded"] / "open_clip_config.json").read_text())["model_cfg"]))
    open_clip.add_model_config(path)
    yield
    factory._MODEL_CONFIG_PATHS.remove(path)
    factory._MODEL_CONFIGS.pop(KIND)


@pytest.fixture(scope="module")
def state(small_architecture: None, draw_open_clip: Callable[[str], State]) -> State:
    return draw_open_clip(KIND)


@pytest.fixture
def name(state: State, tmp_path: Path) -> str:
    save_file(state, tmp_path / "weights.safetensors")
    return f"{KIND}:{tmp_path / 'weights.safetensors'}"


def files(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / kind).iterdir())


def test_a_second_load_builds_nothing_until_pixels_arrive(name: str, tmp_path: Path) -> None:
    first = load_teacher(name, cache=tmp_path / "cache")
    weights = first.class_weights(CLASSES, SIMPLE)
    second = load_teacher(name, cache=tmp_path / "cache")
    assert (first.loaded, second.loaded) == (True, False)
    assert torch.equal(second.class_weights(CLASSES, SIMPLE), weights)
    for attribute in ("name", "identity", "classifier", "classifiers", "preprocessing", "feature_dim", "image_size"):
        assert getattr(second, attribute) == getattr(first, attribute)
    assert (second.patch_size, second.logit_scale, second.device) == (4, first.logit_scale, first.device)
    features = torch.ones(2, second.feature_dim)
    assert torch.equal(second.scales(features), first.scales(features))
    assert not second.loaded
    pixels = torch.zeros(1, 3, 32, 32)
    assert torch.equal(second.encode_image(pixels), first.encode_image(pixels))
    assert second.loaded


def test_class_weights_of_other_words_are_computed(name: str, tmp_path: Path) -> None:
    load_teacher(name, cache=tmp_path / "cache").class_weights(CLASSES, SIMPLE)
    plain = load_teacher(name, cache=None)
    for classes, templates in ((CLASSES[::-1], SIMPLE), (CLASSES, ("a {}.",)), (("cat dog",), SIMPLE)):
        teacher = load_teacher(name, cache=tmp_path / "cache")
        made = teacher.class_weights(classes, templates)
        assert teacher.loaded
        assert torch.equal(made, plain.class_weights(classes, templates))


def test_other_weights_under_the_same_name_are_not_mixed_up(name: str, state: State, tmp_path: Path) -> None:
    before = load_teacher(name, cache=tmp_path / "cache").class_weights(CLASSES, SIMPLE)
    save_file({**state, "text_projection": state["text_projection"].flip(0)}, tmp_path / "weights.safetensors")
    again = load_teacher(name, cache=tmp_path / "cache")
    assert again.loaded
    assert not torch.equal(again.class_weights(CLASSES, SIMPLE), before)


def test_missing_weights_are_reported_at_once(name: str, tmp_path: Path) -> None:
    load_teacher(name, cache=tmp_path / "cache")
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="no such tag, no such file"):
        load_teacher(name, cache=tmp_path / "cache")


def test_weights_that_change_before_the_model_is_built_are_refused(name: str, state: State, tmp_path: Path) -> None:
    """Otherwise the manifest would name the digest of other weights."""
    load_teacher(name, cache=tmp_path / "cache")
    lazy = load_teacher(name, cache=tmp_path / "cache")
    save_file({**state, "logit_scale": state["logit_scale"] + 1}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="was written to"):
        lazy.encode_image(torch.zeros(1, 3, 32, 32))


def test_without_a_cache_the_model_is_built_at_once_and_nothing_is_kept(name: str, tmp_path: Path) -> None:
    before = sorted(default_cache().rglob("*"))
    teacher = load_teacher(name, cache=None)
    assert teacher.loaded
    assert teacher.class_weights(CLASSES, SIMPLE) is teacher.class_weights(CLASSES, SIMPLE)
    assert sorted(default_cache().rglob("*")) == before


@pytest.mark.parametrize("damage", [b"", b"cut", None])
@pytest.mark.parametrize("kind", ["class-weights", "teachers"])
def test_damaged_entries_are_recomputed(kind: str, damage: bytes | None, name: str, tmp_path: Path) -> None:
    expected = load_teacher(name, cache=tmp_path / "cache").class_weights(CLASSES, SIMPLE)
    (path,) = files(tmp_path / "cache", kind)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"4", b"5") if damage is None else damage)
    for loaded in (True, False):  # recomputed, then found
        teacher = load_teacher(name, cache=tmp_path / "cache")
        assert torch.equal(teacher.class_weights(CLASSES, SIMPLE), expected)
        assert teacher.loaded is loaded
    assert sorted(path.read_bytes()) == sorted(content)  # the order of keys in a header is not fixed


def test_a_folder_that_is_not_writable_raises_no_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    teacher = load_teacher(name, cache=tmp_path / "file" / "cache")
    assert teacher.class_weights(CLASSES, SIMPLE).shape == (2, teacher.feature_dim)


def test_class_weights_on_disk_state_what_they_are_for(name: str, tmp_path: Path) -> None:
    load_teacher(name, cache=tmp_path / "cache").class_weights(CLASSES, SIMPLE)
    (path,) = files(tmp_path / "cache", "class-weights")
    assert load_file(path)["value"].shape[0] == 2
    assert b"a photo of a {}." in path.read_bytes()
    assert path.stat().st_size < 20_000


def test_a_misspelt_attribute_is_an_error_and_builds_nothing(name: str, tmp_path: Path) -> None:
    load_teacher(name, cache=tmp_path / "cache")
    teacher = load_teacher(name, cache=tmp_path / "cache")
    for misspelt in ("encode_imgae", "feature_dims", "model", "tokenizer"):
        with pytest.raises(AttributeError, match=misspelt):
            getattr(teacher, misspelt)
    assert not teacher.loaded


def test_its_text_tower_is_the_built_teachers_and_stays_the_same(name: str, tmp_path: Path) -> None:
    teacher = load_teacher(name, cache=tmp_path / "cache")
    tower = teacher.text_tower
    assert tower is not None
    assert tower is teacher.text_tower
    assert tower is teacher.built.text_tower
    tokens = tower.tokens(("a photo of a cat.", "a photo of a dog."))
    expected = teacher.class_weights(CLASSES, SIMPLE)
    torch.testing.assert_close(normalize(tower.encode(tower.embed(tokens), tokens), dim=-1), expected)
    assert teacher.support is None


def test_other_rules_of_the_tokenizer_make_other_entries(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vocabulary is a file of a library, which another may replace under the same version."""
    first = load_teacher(name, cache=tmp_path / "cache")
    first.class_weights(CLASSES, SIMPLE)
    vocabulary = tmp_path / "vocabulary.gz"
    vocabulary.write_bytes(Path(open_clip_tokenizer.default_bpe()).read_bytes() + b"\0")
    monkeypatch.setattr(open_clip_tokenizer, "default_bpe", lambda: str(vocabulary))
    second = load_teacher(name, cache=tmp_path / "cache")
    assert second.tokenizer_sha256 != first.tokenizer_sha256
    second.class_weights(CLASSES, SIMPLE)
    assert second.loaded
    assert load_teacher(name, classifier="prototypes", cache=tmp_path / "cache").tokenizer_sha256 is None


@pytest.mark.parametrize(
    ("module", "attribute", "value"),
    [(disk_cache, "_code", lambda: "edited"), (disk_cache, "_libraries", lambda: {"ftfy": "9"})],
)
def test_other_code_and_other_libraries_make_other_entries(
    module: Any, attribute: str, value: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_teacher(name, cache=tmp_path / "cache").class_weights(CLASSES, SIMPLE)
    monkeypatch.setattr(module, attribute, value)
    assert load_teacher(name, cache=tmp_path / "cache").loaded


def test_weights_are_those_that_this_many_threads_make_whoever_came_first(tmp_path: Path) -> None:
    """Another number of threads rounds otherwise: an entry of two must not decide the last bits of a run with one."""
    classes, threads = ["shirt", "coat", "bag", "sandal"], torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load_teacher("embedded-resnet", cache=tmp_path / "cache").class_weights(classes, TEMPLATES["openai80"])
        torch.set_num_threads(1)
        alone = load_teacher("embedded-resnet", cache=None).class_weights(classes, TEMPLATES["openai80"])
        after = load_teacher("embedded-resnet", cache=tmp_path / "cache")
        assert torch.equal(after.class_weights(classes, TEMPLATES["openai80"]), alone)
        assert after.loaded
    finally:
        torch.set_num_threads(threads)


def test_entries_that_are_swapped_or_of_another_form_count_as_absent(name: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected = [load_teacher(name, cache=cache).class_weights(each, SIMPLE) for each in (CLASSES, CLASSES[::-1])]
    one, other = files(cache, "class-weights")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    (description,) = files(cache, "teachers")
    stated = json.loads(description.read_text())
    stated["value"] = {"feature_dim": 7}
    stated["sha256"] = disk_cache._mapping_digest(stated["value"])
    description.write_text(json.dumps(stated))
    teacher = load_teacher(name, cache=cache)
    assert teacher.loaded
    for weights, each in zip(expected, (CLASSES, CLASSES[::-1]), strict=True):
        assert torch.equal(teacher.class_weights(each, SIMPLE), weights)


def test_a_value_that_was_read_does_not_change_with_its_file(tmp_path: Path) -> None:
    """Tensors of safetensors are parts of the file until they are used."""
    cache = disk_cache.TensorCache(tmp_path)
    cache.write({"a": 1}, torch.ones(100_000))
    found = cache.read({"a": 1})
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(1000))
    assert found is not None
    assert torch.equal(found, torch.ones(100_000))


def test_what_was_noted_when_the_model_was_built_is_noted_again_when_it_is_not(
    state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"state_dict": state, "state_dict_ema": state}, tmp_path / "weights.pt")
    for loaded in (True, False):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "apm_tta"):
            assert load_teacher(f"{KIND}:{tmp_path / 'weights.pt'}", cache=tmp_path / "cache").loaded is loaded
        assert ["averaged over training" in record.getMessage() for record in caplog.records] == [True]
