"""A real run, small, and a real browser to open its page in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apm_tta.cli import main


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, clean and two corruptions at two severities. Not to be changed."""
    folder = tmp_path_factory.mktemp("html") / "run"
    words = ["--methods", "zeroshot,apm,zero", "--limit", "20"]
    conditions = ["--corruptions", "contrast,pixelate", "--severities", "3,5"]
    settings = ["--set", "apm.iterations=4", "--set", "zero.views=4", "--quiet"]
    assert main(["demo", *words, *conditions, *settings, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


class Page:
    """A page with everything that it complained of or asked the network for."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def shown(self, query: str) -> list[Any]:
        """Elements that are to be seen."""
        return [found for found in self.page.query_selector_all(query) if found.is_visible()]


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Page]]:
    """Opens a file, with options of Playwright's ``new_page``."""
    pages: list[Page] = []

    def open_file(file: Path, **options: Any) -> Page:
        pages.append(Page(browser, file, **options))
        return pages[-1]

    yield open_file
    for one in pages:
        one.page.close()
