"""A small real run, and a real browser that opens its page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apm_tta.cli import main


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run three methods on clean images and two corruptions at two severities. Do not change the folder."""
    folder = tmp_path_factory.mktemp("html") / "run"
    words = ["--methods", "zeroshot,apm,zero", "--limit", "20"]
    conditions = ["--corruptions", "contrast,pixelate", "--severities", "3,5"]
    settings = ["--set", "apm.iterations=8", "--set", "zero.views=4", "--quiet"]
    assert main(["demo", *words, *conditions, *settings, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Start Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


class Page:
    """An open page, with its console messages and errors and with every URL that it requested."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def visible(self, query: str) -> list[Any]:
        """Return the visible elements that match ``query``."""
        return [element for element in self.page.query_selector_all(query) if element.is_visible()]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a file, with options of Playwright's ``new_page``."""
    pages: list[Page] = []

    def open_file(file: Path, **options: Any) -> Page:
        pages.append(Page(browser, file, **options))
        return pages[-1]

    yield open_file
    for opened in pages:
        opened.page.close()
