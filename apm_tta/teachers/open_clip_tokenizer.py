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

from apm_tta.errors import UserError, describe_error
from apm_tta.teachers.prompt_tokens import CheckedTokenizer

_SETTINGS = ("context_length", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs")


_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "spiece.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
)


def tokenizer_beside(weights: Path, text: Mapping[str, Any]) -> Path | None:
    """Return the folder of a local file of weights where a tokenizer from Hugging Face lies in it too; else None.

    Args:
        weights: the file.
        text: a ``text_cfg``; a model with open_clip's own tokenizer needs none.
    """
    folder = weights.absolute().parent
    found = text.get("hf_tokenizer_name") and any((folder / file).is_file() for file in _FILES)
    return folder if found else None


def load_tokenizer(name: str, source: str | Path, text: Mapping[str, Any]) -> CheckedTokenizer:
    """Load a tokenizer, and check that it is the one that the model's configuration states.

    Args:
        name: the teacher's.
        source: open_clip's name for the tokenizer, or the folder that it lies in.
        text: a ``text_cfg``.

    Raises:
        UserError: when it needs a missing package or a hub that cannot be reached, or when open_clip gives another.
    """
    length = text.get("context_length", CLIPTextCfg.context_length)
    try:
        own = isinstance(source, Path)
        tokenizer = _from_folder(source, length, text) if isinstance(source, Path) else open_clip.get_tokenizer(source)
    except ImportError as error:
        raise UserError(f"the tokenizer of teacher {name} needs the package {error.name}; install it") from None
    except Exception as error:  # whatever a hub client raises
        advice = f"mend that in {source}" if own else "or put its files beside the file of weights"
        raise UserError(
            f"the tokenizer of teacher {name} is not available: {describe_error(error)}; {advice}"
        ) from error
    expected = HFTokenizer if text.get("hf_tokenizer_name") else SimpleTokenizer
    if not isinstance(tokenizer, expected) or tokenizer.context_length != length:
        found = f"{type(tokenizer).__name__} for {tokenizer.context_length} tokens"
        raise UserError(
            f"teacher {name} needs a {expected.__name__} for {length} tokens, but open_clip gives a {found}"
        )
    vocabulary = None if "hf_model_name" in text else text.get("vocab_size", CLIPTextCfg.vocab_size)
    return CheckedTokenizer(name, tokenizer, vocabulary)


def _from_folder(folder: Path, length: int, text: Mapping[str, Any]) -> HFTokenizer:
    """Load a tokenizer as open_clip does, from files alone: neither a hub nor code in the folder is asked."""
    files_alone = {"local_files_only": True, "trust_remote_code": False}
    settings = {**text.get("tokenizer_kwargs", {}), **files_alone}
    return HFTokenizer(str(folder), context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **settings)


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
