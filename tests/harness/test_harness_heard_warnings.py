"""What libraries warn of is heard wherever it is said, counted, and never printed over a progress bar."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator

import pytest

from apm_tta.harness.progress.heard_warnings import counted, drained, heard_warnings


@pytest.fixture
def as_users_have_it() -> Iterator[None]:
    """Python's own filters, in place of those of the tests, which make every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


def warn(library: str, text: str, category: type[Warning] = UserWarning) -> None:
    """Warn as a function of an installed library does."""
    warnings.warn_explicit(text, category, f"/somewhere/lib/python3/site-packages/{library}/module.py", 1)


def test_each_text_is_heard_once_with_its_count(
    as_users_have_it: None, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of the same place again and again too, which Python itself shows once."""
    with heard_warnings() as heard:
        for _ in range(3):
            warn("PIL", "Palette images\n with transparency")
        logging.getLogger("timm.models").warning("a %s weight", "stray")
        logging.getLogger("timm.models").info("loading")
        logging.getLogger("apm_tta.apm").warning("our own, which is a note anyway")
        logging.getLogger("transformers.tokenization").warning("too long")
    assert list(heard.values()) == [3, 1, 1]
    assert next(iter(heard)) == "PIL warns: Palette images with transparency"
    assert counted(heard)[0] == "PIL warns: Palette images with transparency (3 times)"
    assert [text.partition(" warns: ")[2] for text in counted(heard)[1:]] == ["a stray weight", "too long"]
    assert capsys.readouterr().err == ""


def test_loggers_that_keep_their_records_are_heard_once_whether_or_not_they_do() -> None:
    logger = logging.getLogger("transformers")
    before = logger.propagate
    try:
        for propagate in (True, False):
            logger.propagate = propagate
            with heard_warnings() as heard:
                logger.warning("cut off")
            assert list(heard.values()) == [1]
    finally:
        logger.propagate = before


def test_a_blanket_ignore_silences_nothing_but_what_is_ignored_by_its_text(as_users_have_it: None) -> None:
    """As notebooks begin with; an error is still raised, and filters are as before afterwards."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("ignore", message="known")
    warnings.filterwarnings("error", message="fatal")
    before = list(warnings.filters)
    with heard_warnings() as heard:
        warn("numpy", "invalid value in divide", RuntimeWarning)
        warn("numpy", "known and harmless")
        with pytest.raises(UserWarning, match="fatal"):
            warn("numpy", "fatal")
    assert list(heard) == ["numpy warns: invalid value in divide"]
    assert warnings.filters == before


def test_the_innermost_block_hears(as_users_have_it: None) -> None:
    with heard_warnings() as outer:
        warn("a", "before")
        with heard_warnings() as inner:
            warn("a", "within")
            logging.getLogger("timm").warning("logged within")
        warn("a", "after")
        logging.getLogger("timm").warning("logged after")
    assert len(inner) == 2
    assert [text.partition(": ")[2] for text in outer] == ["before", "after", "logged after"]
    logging.getLogger("timm").warning("nobody hears")
    assert len(outer) == 3


def test_texts_of_any_number_and_length_stay_few_and_short_and_name_no_folder(as_users_have_it: None) -> None:
    with heard_warnings() as heard:
        for number in range(50):
            warn("reader", f"file {number} " + "x" * 1000)
        warnings.warn_explicit("mine \udcff", UserWarning, "/home/me/secret/method.py", 1)
    assert len(heard) == 21
    assert sum(heard.values()) == 51
    assert max(map(len, heard)) < 320
    with heard_warnings() as heard:
        warnings.warn_explicit("mine \udcff", UserWarning, "/home/me/secret/method.py", 1)
        warnings.warn_explicit("ours", UserWarning, "/home/me/checkout/apm_tta/methods/x.py", 1)
    assert list(heard) == ["method.py warns: mine \\udcff", "apm_tta warns: ours"]
    assert drained(heard) == {"method.py warns: mine \\udcff": 1, "apm_tta warns: ours": 1}
    assert not heard


def test_in_another_thread_logs_are_heard_and_filters_left_alone() -> None:
    """Python's warnings are the whole process's: another thread would restore filters that are not its own."""
    heard_there: list[str] = []

    def listen() -> None:
        with heard_warnings() as heard:
            logging.getLogger("timm").warning("logged")
            heard_there.extend(heard)

    before = list(warnings.filters)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert len(heard_there) == 1
    assert warnings.filters == before
