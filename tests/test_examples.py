"""Every example in docstrings, README and docs runs, with the embedded teacher on the CPU; exceptions are listed."""

from __future__ import annotations

import doctest
import importlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import apm_tta

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(apm_tta.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^>]*) -->\n)?```(?P<kind>python|pycon)\n(?P<code>.*?)```", re.DOTALL)

NOT_RUN = [
    ("docs/python.md", "needs downloaded weights and a GPU"),
    ("docs/your-data-set.md", "is a file of tests/sample_plugin, which a test installs"),
]
"""Blocks that are not run, and the reason that the page gives."""


@dataclass(frozen=True)
class Block:
    """One block of Python on a page; ``why`` it is not run, empty where it is."""

    why: str
    kind: str
    code: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["why"] or "", found["kind"], found["code"], text.count("\n", 0, found.start("code")))
        for found in BLOCK.finditer(text)
    ]


def modules_with_examples() -> list[str]:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def failures(examples: doctest.DocTest) -> str:
    """Run examples, and return what doctest says of those that fail."""
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=report.append, clear_globs=False)
    return "".join(report)


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_stays_registered: None) -> None:
    """Run folders land in a folder of the test, and methods that an example registers are forgotten."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_in_docstrings(module: str) -> None:
    found = [test for test in doctest.DocTestFinder().find(importlib.import_module(module)) if test.examples]
    assert found
    for test in found:
        assert not any(doctest.SKIP in example.options for example in test.examples), "examples run, or are listed here"
        assert not failures(test)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda page: page.name)
def test_examples_on_pages(page: Path) -> None:
    """The blocks of a page share their names, as the cells of a notebook do."""
    names = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.why:
            continue
        if block.kind == "pycon":
            examples = doctest.DocTestParser().get_doctest(block.code, names, page.name, str(page), block.line)
            assert examples.examples
            assert not failures(examples)
            names = examples.globs
        else:
            exec(compile("\n" * block.line + block.code, page, "exec"), names)


def test_what_is_not_run_is_listed() -> None:
    found = [(page.relative_to(ROOT).as_posix(), block.why) for page in PAGES for block in blocks_of(page) if block.why]
    assert found == NOT_RUN


def test_card_and_layout_of_the_page_are_those_of_the_sample_package() -> None:
    page = (ROOT / "docs" / "your-data-set.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```(yaml|python)\n(.*?)```", page, flags=re.DOTALL))
    sample = ROOT / "tests" / "sample_plugin" / "apm_tta_sample"
    assert blocks["yaml"] == (sample / "sample-set.yaml").read_text(encoding="utf-8")
    assert blocks["python"] == (sample / "layout.py").read_text(encoding="utf-8")


def test_an_example_that_is_wrong_fails() -> None:
    examples = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert "Expected" in failures(examples)
