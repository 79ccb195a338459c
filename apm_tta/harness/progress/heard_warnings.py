"""What libraries warn of, in Python's warnings or in their logs: heard and counted, where it would scroll by.

What this package's own modules log is not among it: see ``LoggedNotes``.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

_OURS = "apm_tta"
_MOST, _LONGEST = 20, 300
"""How many different texts are kept, and with how many characters each: some name every file that they are about."""
_OTHERS = "further warnings of other texts"
_NOT_PROPAGATING = ("transformers", "huggingface_hub")
"""Loggers that keep what they log from the root, once their library configures them."""
_PACKAGES = ("site-packages", "dist-packages")


@contextmanager
def heard_warnings() -> Iterator[Counter[str]]:
    """Count what libraries warn of in the block, by its text, instead of printing it.

    A blanket ``ignore`` does not silence them here; what is filtered by its text, and what is to be an error, stays so.
    Blocks may be nested: the innermost one hears. Python's warnings belong to the whole process, so that in a thread
    besides the main one only logs are heard.
    """
    heard: Counter[str] = Counter()
    _HEARING.append(heard)
    _listen(True)
    try:
        if threading.current_thread() is threading.main_thread():
            with warnings.catch_warnings():
                warnings.filters[:] = [each for each in warnings.filters if not _is_blanket(each)]  # type: ignore[index]
                warnings.simplefilter("always", append=True)
                warnings.showwarning = _show
                yield heard
        else:
            yield heard
    finally:
        _HEARING[:] = [each for each in _HEARING if each is not heard]
        _listen(bool(_HEARING))


def counted(heard: Mapping[str, int]) -> list[str]:
    """Return every text once, with its count where that is not one."""
    return [text if count == 1 else f"{text} ({count} times)" for text, count in heard.items()]


def drained(heard: Counter[str]) -> dict[str, int]:
    """Return what was heard so far, and forget it."""
    counts = dict(heard)
    heard.clear()
    return counts


_HEARING: list[Counter[str]] = []


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] != _OURS and not getattr(record, "apm_tta_heard", False):
            record.apm_tta_heard = True  # a logger and the root may both hand it over
            named = record.name != logging.root.name  # some libraries log by the root itself
            _hear(record.name.partition(".")[0] if named else _library(record.pathname), record.getMessage())


_LISTENER = _Listener(logging.WARNING)


def _listen(on: bool) -> None:
    for name in (None, *_NOT_PROPAGATING):
        logger = logging.getLogger(name)
        if on:
            logger.addHandler(_LISTENER)  # once, however often it is added
        else:
            logger.removeHandler(_LISTENER)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _hear(_library(filename), str(message))


def _hear(library: str, message: str) -> None:
    if not _HEARING:
        return
    text = f"{library} warns: {' '.join(message.split())}"
    text = (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...").encode(errors="backslashreplace").decode()
    heard = _HEARING[-1]
    heard[text if text in heard or len(heard) < _MOST else _OTHERS] += 1


def _library(filename: str) -> str:
    """Return the top-level package of a file, or its name; never where it lies."""
    parts = Path(filename).parts
    places = [index for index, part in enumerate(parts) if part in _PACKAGES]
    if places and places[-1] + 1 < len(parts):
        return Path(parts[places[-1] + 1]).stem
    return _OURS if _OURS in parts else Path(filename).name


def _is_blanket(entry: Any) -> bool:
    action, message, category, module, _ = entry
    return action == "ignore" and message is None and module is None and issubclass(UserWarning, category)
