"""``report.html`` in a real browser: opened from disk, by keyboard, on a phone, in the dark, with hostile names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apm_tta.cli import main
from apm_tta.harness.manifest import read_manifest, write_manifest
from apm_tta.report import write_report
from apm_tta.report.data import read_report_data
from apm_tta.report.html import write_html
from apm_tta.report.html.figures import figures
from apm_tta.report.results import over_seeds


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, small: three methods, clean and two corruptions."""
    folder = tmp_path_factory.mktemp("html") / "run"
    words = [
        "--methods",
        "zeroshot,apm,zero",
        "--limit",
        "20",
        "--corruptions",
        "contrast,pixelate",
        "--severities",
        "3,5",
    ]
    settings = ["--set", "apm.iterations=4", "--set", "zero.views=4", "--quiet"]
    assert main(["demo", *words, *settings, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a network of its own."""
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

    def shown(self) -> list[Any]:
        return [card for card in self.page.query_selector_all(".samples > li") if card.is_visible()]


def test_it_opens_alone_and_says_nothing_to_anybody(browser: Any, run: Path) -> None:
    """One request, for the file itself; pictures are in it."""
    opened = Page(browser, run / "report.html")
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [(run / "report.html").as_uri()]
    images = opened.page.query_selector_all(".samples img")
    assert len(images) == 60
    assert opened.page.evaluate("[...document.images].every(image => { image.loading = 'eager'; return true; })")
    opened.page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_images_are_filtered_by_keyboard(browser: Any, run: Path) -> None:
    """Tab reaches the filters, letters choose; what is shown is what the method got wrong under that condition."""
    opened = Page(browser, run / "report.html")
    page = opened.page
    page.focus("#filter [name=condition]")
    page.keyboard.type("contrast 5")
    page.keyboard.press("Tab")
    page.keyboard.type("apm")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    texts = [card.inner_text() for card in opened.shown()]
    assert 0 < len(texts) < 60
    assert page.inner_text("#count") == f"{len(texts)} shown"
    assert all("contrast 5" in text and re.search(r"✗ apm: .*\(wrong\)", text) for text in texts)
    assert opened.said == []


def test_every_control_is_reached_by_tab_and_shows_that_it_has_the_focus(browser: Any, run: Path) -> None:
    page = Page(browser, run / "report.html").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.name || document.activeElement.dataset.choose || ''")
        reached.add(name)
        if name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert {"condition", "method", "answer", "latency", "corruptions", "calibration"} <= reached


def test_a_table_is_sorted_by_its_headers(browser: Any, run: Path) -> None:
    page = Page(browser, run / "report.html").page
    header = page.query_selector("#results th:has-text('top-1 %')")
    place = page.evaluate("head => head.cellIndex", header)
    header.query_selector("button").focus()
    for sign in (-1, 1):
        page.keyboard.press("Enter")
        cells = page.query_selector_all(f"#results tbody td:nth-child({place + 1})")
        values = [float(cell.inner_text()) for cell in cells]
        assert values == sorted(values, reverse=sign < 0)
    assert header.get_attribute("aria-sort") == "ascending"


def test_a_chart_is_chosen_from_its_list(browser: Any, run: Path) -> None:
    page = Page(browser, run / "report.html").page
    page.select_option("[data-choose=corruptions]", "severity 5")
    visible = [f for f in page.query_selector_all("figure[data-of=corruptions]") if f.is_visible()]
    assert [figure.get_attribute("data-name") for figure in visible] == ["severity 5"]


@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_a_phone_and_a_desk(browser: Any, run: Path, width: int) -> None:
    """Wide tables scroll inside their boxes, the page does not."""
    page = Page(browser, run / "report.html", viewport={"width": width, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRAST = """() => {
  const shade = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number)
    .map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  const light = (text) => { const [r, g, b] = shade(text); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("p, td, a, small, .right, .wrong, h1, dd")].filter((e) => !e.closest(".warning"))
    .map((e) => light(getComputedStyle(e).color))
    .map((v) => (Math.max(v, ground) + 0.05) / (Math.min(v, ground) + 0.05));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_by_day_and_by_night(browser: Any, run: Path, scheme: str) -> None:
    """Contrast of at least 4.5, as WCAG 2 has it for AA; the two grounds are on either side of grey."""
    page = Page(browser, run / "report.html", color_scheme=scheme).page
    assert min(page.evaluate(CONTRAST)) >= 4.5
    red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])
    assert (red > 128) == (scheme == "light")


HOSTILE = "<img src=x onerror=\"document.title='run'\"></script><script>document.title='run'</script>"


def test_names_that_hold_tags_are_text(browser: Any, run: Path, tmp_path: Path) -> None:
    """In the title, in the caption, and in the answers to the questions; and the policy lets no other script run."""
    other = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = read_manifest(other)
    manifest["title"] = f"{HOSTILE} title"
    manifest["numbers"]["dataset"]["title"] = HOSTILE
    manifest["command"] = ["run-bench", HOSTILE]
    write_manifest(other, manifest)
    write_report(other)
    opened = Page(browser, other / "report.html")
    assert opened.page.title() == f"{HOSTILE} title"
    assert opened.said == []
    assert opened.page.evaluate("document.scripts.length") == 1
    opened.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=document.title=1>')")
    opened.page.wait_for_timeout(50)
    assert opened.page.title() == f"{HOSTILE} title", "the policy holds what escaping would miss"


def test_class_names_that_hold_tags_are_text(tmp_path: Path) -> None:
    """A data set of somebody's own: its names are in the cards of the images."""
    from PIL import Image

    from apm_tta.data.dataset import open_dataset
    from apm_tta.data.sample import CLEAN

    dataset = open_dataset("fashion-mnist", limit=20)
    root = tmp_path / "data"
    for entry in dataset.entries(CLEAN):
        place = root / f"{entry.label:02d}"
        place.mkdir(parents=True, exist_ok=True)
        picture: Image.Image = dataset.read(entry, CLEAN).image
        picture.save(place / f"{entry.id.replace('/', '-')}.png")
    names = [HOSTILE, *(f"class {index}" for index in range(1, 10))]
    (root / "classes.txt").write_text("".join(f"{index:02d}\t{name}\n" for index, name in enumerate(names)))
    words = ["folder", "--teacher", "embedded", "--data-root", str(root), "--methods", "zeroshot", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "&lt;img src=x onerror=" in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 1


def test_without_its_images_the_page_says_so(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = read_manifest(other)
    manifest["numbers"]["dataset"]["fingerprint"] = "0" * 64
    write_manifest(other, manifest)
    text = write_html(read_report_data(other)).read_text()
    assert "The images that lie here now are not the run&#39;s: no pictures are shown." in text
    assert "data:image" not in text


def test_charts_hold_the_numbers_of_the_table(run: Path) -> None:
    """The heat map's cells, read back from the picture, are the rounded results."""
    data = read_report_data(run)
    results = over_seeds(data.results)
    (heat,) = [figure for figure in figures(data, results) if figure.key == "corruptions"]
    drawn = [int(text) for text in re.findall(r'text-anchor="middle" class="label">(\d+)<', heat.charts["severity 5"])]
    own = results[results["severity"] == 5]
    expected = [
        round(own[(own["method"] == m) & (own["corruption"] == c)]["top1"].item())
        for m in data.methods
        for c in ("contrast", "pixelate")
    ]
    assert drawn == expected


def test_the_page_of_a_run_of_few_images_is_small(run: Path) -> None:
    assert (run / "report.html").stat().st_size < 500_000
