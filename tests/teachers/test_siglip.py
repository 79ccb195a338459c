"""SigLIP through open_clip: its own tokenizer from a local folder, its own scale, and what its bias leaves as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.errors import UserError
from apm_tta.teachers import load_teacher

NAME = "apm-tta-test-SigLIP"
CLASSES = load_card("fashion-mnist").class_list.names
TEMPLATE = ("A photo of a {}!",)
LENGTH = 24
MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {
        "context_length": LENGTH,
        "vocab_size": 64,
        "hf_tokenizer_name": "apm-tta/test-siglip",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}


def write_tokenizer(folder: Path, words: list[str], pad: str | None = "</s>") -> None:
    """Write a word tokenizer as ``save_pretrained`` lays it out, with SigLIP's end of a text, which is its padding."""
    vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>", pad_token=pad)
    made.save_pretrained(folder)


def words_of(texts: tuple[str, ...]) -> list[str]:
    return sorted({word for text in texts for word in text.lower().replace("/", "").replace("-", "").split()})


WORDS = ["a", "photo", "of", *words_of(CLASSES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder as one downloads it: weights, configuration and tokenizer; open_clip knows the architecture."""
    place = tmp_path_factory.mktemp("siglip")
    configurations = tmp_path_factory.mktemp("configurations")
    (configurations / f"{NAME}.json").write_text(json.dumps(MODEL))
    before = list(factory._MODEL_CONFIG_PATHS)
    open_clip.add_model_config(configurations)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CustomTextCLIP(**{key: value for key, value in MODEL.items() if key != "custom_text"})
    with torch.no_grad():
        model.logit_scale.fill_(4.75)
        model.logit_bias.fill_(-16.5)
        for parameter in model.text.parameters():
            parameter.mul_(3)
    save_file(model.state_dict(), place / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": preprocess}))
    write_tokenizer(place, WORDS)
    yield place
    factory._MODEL_CONFIG_PATHS[:] = before
    factory._rescan_model_configs()


def load(folder: Path) -> Any:
    return load_teacher(f"{NAME}:{folder / 'open_clip_model.safetensors'}", cache=None)


def test_the_tokenizer_beside_the_weights_is_used(folder: Path) -> None:
    """As open_clip uses it, with SigLIP's cleaning: capitals and punctuation are gone. No hub is asked."""
    teacher = load(folder)
    own = HFTokenizer(str(folder), context_length=LENGTH, clean="canonicalize")
    prompts = [f"A photo of a {name}!" for name in CLASSES]
    tokens = teacher.built.tokenizer(prompts)
    assert torch.equal(tokens, own(prompts))
    assert not bool((tokens == 0).any()), "every word is known"
    with torch.no_grad():
        expected = normalize(teacher.built.model.encode_text(own(prompts)), dim=-1)
    torch.testing.assert_close(teacher.class_weights(CLASSES, TEMPLATE), expected)
    assert teacher.tokenizer_sha256 != load_teacher("embedded").tokenizer_sha256


def test_softmax_and_answers_are_those_of_the_model_s_own_logits(folder: Path) -> None:
    """Of scale times cosine plus bias: the bias is the same for every class, so that entropy does not see it either."""
    teacher = load(folder)
    model = teacher.built.model
    pixels = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = HFTokenizer(str(folder), context_length=LENGTH, clean="canonicalize")
    with torch.no_grad():
        theirs, _ = model.get_logits(pixels, own([f"A photo of a {name}!" for name in CLASSES]))
        features = teacher.encode_image(pixels)
        ours = teacher.scales(features) * normalize(features, dim=-1) @ teacher.class_weights(CLASSES, TEMPLATE).T
    assert teacher.logit_scale == pytest.approx(float(model.logit_scale.exp()))
    torch.testing.assert_close(ours - 16.5, theirs, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1), rtol=0, atol=1e-5)
    assert torch.equal(ours.argmax(-1), theirs.sigmoid().argmax(-1))


def test_a_method_by_entropy_and_one_that_tunes_prompts_run(folder: Path) -> None:
    dataset = apm_tta.open_dataset("fashion-mnist", limit=4)
    clean = apm_tta.Condition()
    images = [dataset.read(entry, clean).image for entry in dataset.entries(clean)]
    for name, parameters in {"tent": {}, "zero": {"views": 4}, "tpt": {"views": 4}}.items():
        predicted = apm_tta.load_method(name, load(folder), classes=CLASSES, **parameters)(images)
        assert bool(predicted.logits.isfinite().all())


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    return place


def test_a_tokenizer_with_other_tokens_is_refused(copied: Path) -> None:
    """More than the text tower knows; one that states no padding; one that cannot be read."""
    write_tokenizer(copied, [*(f"word{number}" for number in range(80)), *WORDS])
    with pytest.raises(UserError, match=r"has a token \d+, but its text tower knows 64: they do not belong together"):
        load(copied).class_weights(CLASSES, TEMPLATE)
    write_tokenizer(copied, WORDS, pad=None)
    with pytest.raises(UserError, match="states no token for padding"):
        load(copied).class_weights(CLASSES, TEMPLATE)
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"the tokenizer of teacher .* is not available: .*; mend that in "):
        load(copied).class_weights(CLASSES, TEMPLATE)


def test_an_edited_tokenizer_has_another_digest(folder: Path, copied: Path) -> None:
    assert load(folder).tokenizer_sha256 == load(copied).tokenizer_sha256
    write_tokenizer(copied, WORDS[::-1])
    assert load(folder).tokenizer_sha256 != load(copied).tokenizer_sha256


def test_without_a_tokenizer_no_other_one_takes_its_place(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open_clip would ask the hub; a tokenizer of another kind or length is refused."""
    for file in copied.glob("tokenizer*"):
        file.unlink()

    def not_reached(_name: str) -> Any:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr(open_clip, "get_tokenizer", not_reached)
    with pytest.raises(UserError, match="the hub cannot be reached; or put its files beside the file of weights"):
        load(copied).class_weights(CLASSES, TEMPLATE)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda _name: open_clip.SimpleTokenizer(context_length=LENGTH))
    with pytest.raises(UserError, match="needs a HFTokenizer for 24 tokens, but open_clip gives a SimpleTokenizer"):
        load(copied).class_weights(CLASSES, TEMPLATE)


def test_another_context_length_in_the_configuration_is_refused(copied: Path) -> None:
    stated = json.loads((copied / "open_clip_config.json").read_text())
    stated["model_cfg"]["text_cfg"]["context_length"] = 64
    (copied / "open_clip_config.json").write_text(json.dumps(stated))
    with pytest.raises(UserError, match=r"states text_cfg\.context_length 64, not 24"):
        load(copied)
