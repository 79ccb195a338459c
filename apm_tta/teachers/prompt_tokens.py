"""Tokens of prompts, without the silent changes of a tokenizer: one that is cut off may lose its class name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from open_clip.tokenizer import basic_clean, canonicalize_text, syntax_mask_tokenize
from torch import Tensor

from apm_tta.errors import UserError

_log = logging.getLogger(__name__)

# Beginning and end; in open_clip's mode "clips" a class token too.
_ADDED, _ADDED_BY_CLIPS = 2, 3
_LONGEST_QUOTE = 80


class CheckedTokenizer:
    """A tokenizer of open_clip that refuses what it would silently change.

    Args:
        name: the teacher's.
        tokenizer: open_clip's own, or its wrapper of one from Hugging Face.
        vocabulary: number of tokens that the text tower knows; None where it does not say.

    Raises:
        UserError: when it is of another kind, so that nobody knows what it does to long prompts, or rewrites all.
    """

    def __init__(self, name: str, tokenizer: Any, vocabulary: int | None) -> None:
        if not hasattr(tokenizer, "encode") and not hasattr(tokenizer, "tokenizer"):
            raise UserError(f"the tokenizer of teacher {name} is a {type(tokenizer).__name__}, which is not supported")
        if getattr(tokenizer, "reduction_fn", None) is syntax_mask_tokenize:
            raise UserError(
                f"the tokenizer of teacher {name} has reduction_mask syntax, which rewrites every prompt; this is not "
                "supported: class weights need whole prompts"
            )
        if getattr(getattr(tokenizer, "tokenizer", self), "pad_token_id", 0) is None:
            raise UserError(f"the tokenizer of teacher {name} states no token for padding: its files are not complete")
        self._name = name
        self._tokenizer = tokenizer
        self._inner = getattr(tokenizer, "tokenizer", None)
        self._vocabulary = vocabulary
        self._clean: Callable[[str], str] = getattr(tokenizer, "clean_fn", _clean_as_siglip)
        self._marks: Sequence[str] = (
            [tokenizer.decoder[token] for token in tokenizer.all_special_ids]
            if self._inner is None
            else self._inner.all_special_tokens
        )

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Return the tokens of N prompts ``(N, L)``, padded to the context length.

        Raises:
            UserError: for a prompt with more tokens than the context length, with a special token of the tokenizer in
                its text, or with a token that the text tower does not know. Exit code 2.
        """
        self._refuse_marks(prompts)
        tokens: Tensor = self._tokenizer(list(prompts))
        # Counting is slow, and needed only where no padding is left; a mark at the very end may have been removed.
        for index in (tokens[:, -2:] != self._padding).any(1).nonzero().flatten().tolist():
            if (count := self._count(prompts[index])) > (limit := tokens.shape[1]):
                raise UserError(
                    f"prompt {_quoted(prompts[index])} has {count} tokens, but teacher {self._name} has no room for "
                    f"more than {limit}: the rest would be cut off; use a shorter template or class name",
                    exit_code=2,
                )
        if self._vocabulary is not None and int(tokens.max()) >= self._vocabulary:
            raise UserError(
                f"the tokenizer of teacher {self._name} has a token {int(tokens.max())}, but its text tower knows "
                f"{self._vocabulary}: they do not belong together"
            )
        self._note_unknown(prompts, tokens)
        return tokens

    @property
    def content(self) -> bytes:
        """What a tokenizer from Hugging Face makes tokens with: its kind, its vocabulary, and its rules."""
        inner: Any = self._inner
        backend = getattr(inner, "backend_tokenizer", None)
        rules = repr(getattr(inner, "init_kwargs", "")) if backend is None else _serialised(backend)
        vocabulary = json.dumps(inner.get_vocab(), sort_keys=True) if backend is None else ""
        return "\n".join([type(self._tokenizer).__name__, type(inner).__name__, rules, vocabulary]).encode()

    @property
    def _padding(self) -> int:
        return 0 if self._inner is None or self._inner.pad_token_id is None else int(self._inner.pad_token_id)

    def _count(self, prompt: str) -> int:
        """Return the number of tokens that a prompt would have if there were no limit."""
        if self._inner is None:
            return len(self._tokenizer.encode(prompt)) + _ADDED
        if getattr(self._tokenizer, "tokenizer_mode", "") == "clips":
            plain = self._inner(self._clean(prompt), add_special_tokens=False, truncation=False)
            return len(plain["input_ids"]) + _ADDED_BY_CLIPS
        return len(self._inner(self._clean(prompt), truncation=False)["input_ids"])

    def _refuse_marks(self, prompts: Sequence[str]) -> None:
        """Refuse text that the tokenizer takes for its own marks: a tower stops reading at the first end."""
        for prompt in prompts:
            # Cleaning is slow; it may make marks of other signs only, such as ``&lt;`` or a wide one.
            text = prompt.lower() if prompt.isascii() and "&" not in prompt else self._clean(prompt)
            if any(mark in text or mark in prompt for mark in self._marks):
                raise UserError(
                    f"prompt {_quoted(prompt)} contains a mark that the tokenizer of teacher {self._name} uses itself "
                    "for the beginning, the end or nothing; write it in another way",
                    exit_code=2,
                )

    def _note_unknown(self, prompts: Sequence[str], tokens: Tensor) -> None:
        unknown = getattr(self._inner, "unk_token_id", None)
        if unknown is not None and unknown != self._padding:
            rows = (tokens == unknown).any(1).nonzero().flatten().tolist()
            if rows:
                _log.warning(
                    "prompts contain words that the tokenizer of teacher %s does not know (%d of %d), such as %s",
                    *(self._name, len(rows), len(prompts), _quoted(prompts[rows[0]])),
                )


def _serialised(backend: Any) -> str:
    """Serialise a fast tokenizer without what its last call set."""
    content = json.loads(backend.to_str())
    return json.dumps({key: value for key, value in content.items() if key not in ("truncation", "padding")})


def _clean_as_siglip(text: str) -> str:
    cleaned: str = canonicalize_text(basic_clean(text))
    return cleaned


def _quoted(prompt: str) -> str:
    return repr(prompt if len(prompt) <= _LONGEST_QUOTE else f"{prompt[:_LONGEST_QUOTE]} ...")
