"""No prompt is cut off, and no text is taken for a mark, whichever of open_clip's tokenizers it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer, default_bpe, get_clean_fn

from apm_tta import load_method
from apm_tta.errors import UserError
from apm_tta.teachers import Teacher, load_teacher, open_clip_tokenizer
from apm_tta.teachers.open_clip_tokenizer import tokenizer_sha256
from apm_tta.teachers.prompt_tokens import CheckedTokenizer

PAD, UNKNOWN, END, BEGIN = 0, 1, 2, 3
WORDS = ("a", "photo", "taken", "one", "day", "long", "ago", "of", "cat", "dog")


class Words:
    """A tokenizer of words, called and answering as those of transformers do."""

    pad_token_id, unk_token_id, sep_token_id, eos_token_id = PAD, UNKNOWN, END, END
    bos_token_id = cls_token_id = BEGIN
    all_special_tokens = ("[PAD]", "[UNK]", "[SEP]", "[CLS]")

    def __init__(self) -> None:
        self.init_kwargs = {"unk_token": "[UNK]"}
        self.vocabulary = {word: number for number, word in enumerate(WORDS, start=4)}

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        truncation: bool = False,
        max_length: int = 0,
        add_special_tokens: bool = True,
        **_: object,
    ) -> Any:
        if isinstance(texts, str):
            (row,) = self([texts], add_special_tokens=add_special_tokens)["input_ids"]
            return {"input_ids": row}
        before, after = ([BEGIN], [END]) if add_special_tokens else ([], [])
        rows = [[self.vocabulary.get(word, UNKNOWN) for word in text.split()] for text in texts]
        if not truncation:
            return {"input_ids": [before + row + after for row in rows]}
        rows = [before + row[: max_length - 2] + after for row in rows]
        return SimpleNamespace(input_ids=torch.tensor([row + [PAD] * (max_length - len(row)) for row in rows]))


def hugging_face(kind: type = HFTokenizer, **settings: Any) -> Any:
    """Make open_clip's wrapper of such a tokenizer, for eight tokens, without what it would download."""
    made = kind.__new__(kind)
    made.tokenizer, made.context_length = Words(), 8
    if kind is HFTokenizer:
        made.clean_fn, made.tokenizer_mode, made.strip_sep_token = get_clean_fn("whitespace"), "", False
    vars(made).update(settings)
    return made


KINDS = {
    "open_clip's own": SimpleTokenizer(context_length=8),
    "open_clip's own, of a random part": SimpleTokenizer(context_length=8, reduction_mask="random"),
    "Hugging Face": hugging_face(),
    "without the mark at the end": hugging_face(strip_sep_token=True),
    "clips": hugging_face(tokenizer_mode="clips"),
    "SigLIP": hugging_face(SigLipTokenizer),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_fits_is_the_library_s_own_and_a_longer_one_is_refused(kind: str) -> None:
    tokenizer = CheckedTokenizer("small", KINDS[kind], None)
    fits = "a photo taken one day" if kind == "clips" else "a photo taken one day long"
    assert torch.equal(tokenizer([fits, "a cat"]), KINDS[kind]([fits, "a cat"]))
    with pytest.raises(
        UserError, match=rf"'{fits} dog' has 9 tokens, but teacher small has no room for more than 8: the rest"
    ) as refused:
        tokenizer(["a cat", f"{fits} dog"])
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["a {} cat", "{}", "photo of a{}"])
def test_a_mark_in_the_text_is_refused(kind: str, text: str) -> None:
    mark = "<end_of_text>" if "own" in kind else "[SEP]"
    with pytest.raises(UserError, match="contains a mark that the tokenizer of teacher small uses itself"):
        CheckedTokenizer("small", KINDS[kind], None)([text.format(mark)])


@pytest.mark.parametrize("disguised", ["&lt;end_of_text&gt; cat", "＜end_of_text＞ cat", "<START_of_text> cat"])  # noqa: RUF001
def test_a_mark_that_only_cleaning_makes_is_refused(disguised: str) -> None:
    with pytest.raises(UserError, match="contains a mark"):
        CheckedTokenizer("small", KINDS["open_clip's own"], None)([disguised])


def test_words_that_nobody_knows_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "apm_tta"):
        CheckedTokenizer("small", KINDS["Hugging Face"], None)(["a cat", "a wombat", "a yak"])
    assert "tokenizer of teacher small does not know (2 of 3), such as 'a wombat'" in caplog.text


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(UserError, match="has a token 13, but its text tower knows 12: they do not belong together"):
        CheckedTokenizer("small", KINDS["Hugging Face"], 12)(["a dog"])
    with pytest.raises(UserError, match="rewrites every prompt"):
        CheckedTokenizer("small", SimpleTokenizer(reduction_mask="syntax"), None)
    with pytest.raises(UserError, match="is a list, which is not supported"):
        CheckedTokenizer("small", [], None)


def test_its_digest_is_of_everything_that_makes_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = hugging_face()
    other.tokenizer.vocabulary["wombat"] = 99
    text: dict[str, Any] = {"context_length": 8, "hf_tokenizer_name": "words"}

    def never() -> CheckedTokenizer:
        raise AssertionError("open_clip's own is loaded for its digest")

    vocabulary = tmp_path / "vocabulary.gz"
    vocabulary.write_bytes(Path(default_bpe()).read_bytes() + b"\0")
    own = {"context_length": 8}
    digests = [
        tokenizer_sha256(text, lambda: CheckedTokenizer("small", hugging_face(), None)),
        tokenizer_sha256(text, lambda: CheckedTokenizer("small", other, None)),
        tokenizer_sha256({**text, "context_length": 9}, lambda: CheckedTokenizer("small", other, None)),
        tokenizer_sha256({**text, "tokenizer_mode": "clips"}, lambda: CheckedTokenizer("small", other, None)),
        tokenizer_sha256(own, never),
        tokenizer_sha256({**own, "tokenizer_kwargs": {"clean": "whitespace"}}, never),
    ]
    again = tokenizer_sha256({**own, "width": 64}, never)
    monkeypatch.setattr(open_clip_tokenizer, "default_bpe", lambda: str(vocabulary))
    digests.append(tokenizer_sha256(own, never))
    assert len(set(digests)) == len(digests)
    assert again == digests[4]


@pytest.mark.parametrize(
    ("method", "parameters"), [("zeroshot", {"templates": "{file}"}), ("tpt", {"context": " ".join(["photo"] * 40)})]
)
def test_every_way_to_the_text_tower_refuses_a_prompt_that_is_cut_off(
    method: str, parameters: dict[str, str], tmp_path: Path
) -> None:
    """The embedded teacher takes 32 tokens: without the class name every class would get the same vector."""
    file = tmp_path / "templates.txt"
    file.write_text(f"a {'very ' * 40}old {{}}.\n")
    chosen = {name: value.format(file=file) for name, value in parameters.items()}
    with pytest.raises(UserError, match=r"tokens, but teacher embedded has no room for more than 32"):
        load_method(method, "embedded", classes=["bag", "boot"], **chosen)


def test_a_long_class_name_in_a_short_template_is_refused(embedded_teacher: Teacher) -> None:
    name = "a boot of leather with laces and " * 6
    with pytest.raises(UserError, match=r"prompt 'a photo of a a boot .*' has \d+ tokens"):
        embedded_teacher.class_weights(["bag", name], ("a photo of a {}.",))


@pytest.mark.parametrize("classes", [["crane", "Crane"], ["crane", "boot", "crane "], ["a &amp; b", "bag", "a & b"]])
def test_classes_whose_prompts_become_equal_are_refused(classes: list[str]) -> None:
    teacher = load_teacher("embedded")
    with pytest.raises(UserError, match=r"cannot tell apart '.*' and '.*' \(0, \d\): their prompts are equal"):
        teacher.class_weights(classes, ("a photo of a {}.", "a drawing of a {}."))


def test_templates_without_a_class_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"cannot tell apart 'bag' and 'boot' .0, 1.*: their prompts are equal"):
        load_teacher("embedded").class_weights(["bag", "boot", "coat"], ("a photo.",))
