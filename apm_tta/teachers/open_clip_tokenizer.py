"""The tokenizer of an open_clip model, and the digest of what it makes tokens with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import open_clip
from open_clip.model import CLIPTextCfg
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, default_bpe

from apm_tta.errors import UserError
from apm_tta.teachers.prompt_tokens import CheckedTokenizer

_SETTINGS = ("context_length", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs")


def load_tokenizer(name: str, source: str, text: Mapping[str, Any]) -> CheckedTokenizer:
    """Load a tokenizer, and check that it is the one that the model's configuration states.

    Args:
        name: the teacher's.
        source: open_clip's name for the tokenizer.
        text: a ``text_cfg``.

    Raises:
        UserError: when it needs a missing package or a hub that cannot be reached, or when open_clip gives another.
    """
    try:
        tokenizer = open_clip.get_tokenizer(source)
    except ImportError as error:
        raise UserError(f"the tokenizer of teacher {name} needs the package {error.name}; install it") from None
    except Exception as error:  # whatever a hub client raises
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the tokenizer of teacher {name} is not available: {reason}") from None
    expected = HFTokenizer if text.get("hf_tokenizer_name") else SimpleTokenizer
    length = text.get("context_length", CLIPTextCfg.context_length)
    if not isinstance(tokenizer, expected) or tokenizer.context_length != length:
        found = f"{type(tokenizer).__name__} for {tokenizer.context_length} tokens"
        raise UserError(
            f"teacher {name} needs a {expected.__name__} for {length} tokens, but open_clip gives a {found}"
        )
    vocabulary = None if "hf_model_name" in text else text.get("vocab_size", CLIPTextCfg.vocab_size)
    return CheckedTokenizer(name, tokenizer, vocabulary)


def tokenizer_sha256(text: Mapping[str, Any], load: Callable[[], CheckedTokenizer]) -> str:
    """Compute the digest of everything that turns a prompt into tokens, but for the libraries' code.

    Args:
        text: a ``text_cfg``.
        load: returns the tokenizer; open_clip's own is not loaded for its digest.

    Raises:
        UserError: when the tokenizer is not available.
    """
    settings = json.dumps({key: text[key] for key in _SETTINGS if key in text}, sort_keys=True)
    content = load().content if text.get("hf_tokenizer_name") else Path(default_bpe()).read_bytes()
    return hashlib.sha256(settings.encode() + b"\0" + content).hexdigest()
