"""``report.html`` in a real browser: opened from disk, by keyboard, on a phone, in the dark, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]


def test_it_is_one_file_that_makes_no_other_request(open_page: Open, run: Path) -> None:
    """One request, for the file itself, which contains its pictures."""
    one = open_page(run / "report.html")
    assert one.messages == []
    assert [url for url in one.requests if not url.startswith("data:")] == [(run / "report.html").as_uri()]
    assert len(one.page.query_selector_all(".samples img")) == 60
    assert one.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_images_are_filtered_by_keyboard(open_page: Open, run: Path) -> None:
    """Tab reaches the filters, letters choose; the images shown are those the method got wrong under the condition."""
    one = open_page(run / "report.html")
    page = one.page
    page.focus("#filter [name=condition]")
    page.keyboard.type("contrast 5")
    page.keyboard.press("Tab")
    page.keyboard.type("apm")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    texts = [card.inner_text() for card in one.visible(".samples > li")]
    assert 0 < len(texts) < 60
    assert page.inner_text("#count") == f"{len(texts)} shown"
    assert all("contrast 5" in text and re.search(r"wrong:\s*apm: ", text) for text in texts)
    assert one.messages == []


def test_images_on_which_methods_differ_are_chosen_by_keyboard(open_page: Open, run: Path) -> None:
    """Exactly those stay visible, judged by the text of the cards themselves."""
    one = open_page(run / "report.html")
    cards = one.page.query_selector_all(".samples > li")
    predictions = [
        {re.sub(r"\s\d+\s%$", "", li.inner_text().split(": ")[-1]) for li in card.query_selector_all("li")}
        for card in cards
    ]
    one.page.focus("#filter [name=differ]")
    one.page.keyboard.press("Space")
    assert 0 < sum(len(distinct) > 1 for distinct in predictions) < 60
    assert [card.is_visible() for card in cards] == [len(distinct) > 1 for distinct in predictions]


def test_rows_of_the_results_are_filtered_by_keyboard(open_page: Open, run: Path) -> None:
    """Rows of one condition and one method; all of them again afterwards."""
    one = open_page(run / "report.html")
    every = len(one.visible("#results tbody tr"))
    one.page.focus("#results [name=condition]")
    one.page.keyboard.type("pixelate 3")
    assert [row.inner_text().split()[:3] for row in one.visible("#results tbody tr")] == [
        ["pixelate", "3", method] for method in ("zeroshot", "apm", "zero")
    ]
    one.page.keyboard.press("Tab")
    one.page.keyboard.type("apm")
    assert one.page.inner_text("#results output") == "1 row"
    one.page.keyboard.press("Home")
    one.page.focus("#results [name=condition]")
    one.page.keyboard.press("Home")
    assert len(one.visible("#results tbody tr")) == every


def test_every_control_is_reached_by_tab_and_shows_its_focus(open_page: Open, run: Path) -> None:
    page = open_page(run / "report.html").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.name || document.activeElement.dataset.choose || ''")
        reached.add(name)
        if name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if name == "differ":
            break
    assert {"condition", "method", "outcome", "differ", "latency", "corruptions", "calibration"} <= reached


def test_a_table_is_sorted_by_its_headers(open_page: Open, run: Path) -> None:
    """Numbers sort from the highest, then from the lowest; n/a stays last; names sort from A."""
    page = open_page(run / "report.html").page

    def column(name: str) -> tuple[Any, Callable[[], list[str]]]:
        header = page.query_selector(f"#results th:has-text('{name}')")
        place = page.evaluate("head => head.cellIndex", header)
        read = "place => [...document.querySelectorAll('#results tbody tr')].map(row => row.cells[place].innerText)"
        return header, lambda: page.evaluate(read, place)

    header, cells = column("ECE %")
    header.query_selector("button").focus()
    for name, sign in (("descending", -1), ("ascending", 1)):
        page.keyboard.press("Enter")
        values = [float(text) for text in cells() if text != "n/a"]
        assert values == sorted(values, reverse=sign < 0)
        assert cells()[len(values) :] == ["n/a"] * 5, "zero's confidences are votes"
        assert header.get_attribute("aria-sort") == name
    names, cells = column("method")
    names.query_selector("button").press("Enter")
    assert cells() == sorted(cells())
    assert header.get_attribute("aria-sort") is None


def test_a_chart_is_chosen_from_its_list(open_page: Open, run: Path) -> None:
    one = open_page(run / "report.html")
    assert [f.get_attribute("data-name") for f in one.visible("figure[data-of=corruptions]")] == ["severity 3"]
    one.page.select_option("[data-choose=corruptions]", "severity 5")
    assert [f.get_attribute("data-name") for f in one.visible("figure[data-of=corruptions]")] == ["severity 5"]


def test_without_scripts_every_chart_is_shown(open_page: Open, run: Path) -> None:
    one = open_page(run / "report.html", java_script_enabled=False)
    names = [figure.get_attribute("data-name") for figure in one.visible("figure[data-of=corruptions]")]
    assert names == ["severity 3", "severity 5"]


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_it_fits_a_phone_and_a_desk(open_page: Open, run: Path, width: int) -> None:
    """Wide tables and charts scroll inside their boxes, including those in opened details; the page does not."""
    page = open_page(run / "report.html", viewport={"width": width, "height": 800}).page
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = "[...document.querySelectorAll('.scroll, .chart')].filter(box => getComputedStyle(box).overflowX !== 'auto')"
    assert page.evaluate(f"{cut}.length") == 0


def test_the_text_of_charts_can_be_read_on_a_phone(open_page: Open, run: Path) -> None:
    """Letters stay at least ten pixels high where a chart gets narrower."""
    page = open_page(run / "report.html", viewport={"width": 390, "height": 800}).page
    heights = page.evaluate(
        """[...document.querySelectorAll("figure text")].filter((text) => text.checkVisibility()).map((text) => {
          const svg = text.ownerSVGElement, scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
          return parseFloat(getComputedStyle(text).fontSize) * scale;
        })"""
    )
    assert len(heights) > 20
    assert min(heights) >= 10


# WCAG 2's contrast of every text with its background: the nearest opaque colour, below the shade of a heat map's cell.
CONTRAST = """() => {
  const parts = (text) => { const v = text.match(/[\\d.]+/g).map(Number); return v.length < 4 ? [...v, 1] : v; };
  const over = (top, share, below) => below.map((v, i) => share * top[i] + (1 - share) * v);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * v, 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour.slice(0, 3);
    }
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || ["TITLE", "title", "desc", "SCRIPT"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), svg = element.namespaceURI.endsWith("svg");
    let behind = ground(element);
    const cell = element.classList.contains("value") ? element.previousElementSibling : null;
    if (cell && cell.classList.contains("shade")) {
      const shade = getComputedStyle(cell);
      behind = over(parts(shade.fill), Number(shade.opacity), behind);
    }
    const [a, b] = [light(parts(svg ? style.fill : style.color)), light(behind)];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.slice(0, 40)]);
  }
  return found.sort((one, other) => one[0] - other[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_by_day_and_by_night(open_page: Open, run: Path, scheme: str) -> None:
    """The contrast is at least 4.5, as WCAG 2 requires for AA, even on the strongest shade; the backgrounds differ."""
    page = open_page(run / "report.html", color_scheme=scheme).page
    page.evaluate("for (const one of document.querySelectorAll('.shade')) one.style.setProperty('--share', 1)")
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 500
    assert contrasts[0][0] >= 4.5, contrasts[0]
    red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])
    assert (red > 128) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_can_be_told_from_the_background(open_page: Open, run: Path, scheme: str) -> None:
    """The contrast is at least 3, as WCAG 2 requires for graphical objects."""
    page = open_page(run / "report.html", color_scheme=scheme).page
    page.evaluate(
        """() => { const list = document.createElement("p"); list.id = "colours"; document.body.append(list);
          const names = ["reference", ...Array(11).keys()].map((i) => i === "reference" ? i : `series-${i}`);
          for (const name of names) list.innerHTML += `<span style="color: var(--${name})">colour ${name}</span>`;
        }"""
    )
    colours = [contrast for contrast, text in page.evaluate(CONTRAST) if text.startswith("colour ")]
    assert len(colours) == 12
    assert min(colours) >= 3


def test_the_page_states_its_size(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    size = (run / "report.html").stat().st_size
    assert size < 500_000
    assert f"This file: {size / 1e6:.2f} MB" in text
