"""Pictures are the same bytes every time, frames keep their order, and numbers accompany them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from apm_tta.islands.animation import Format, draw_frame, encode_animation
from apm_tta.islands.number_tables import as_csv, as_table
from apm_tta.islands.strip import Chart, Column, Curve, draw_strip


def picture(value: float) -> np.ndarray:
    return np.full((4, 4, 3), value)


def test_a_strip_is_the_same_bytes_every_time() -> None:
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    columns = [Column(f"iteration {index}", {"PCA": picture(index / 3)}) for index in range(3)]
    chart = Chart("iteration", [Curve("loss", [0, 1, 2], [3, 2, 1])], [Curve("cosine", [0, 1, 2], [0, 0.5, 1])], [1])
    first, again = (draw_strip("a title", image, columns, chart) for _ in range(2))
    assert first == again
    drawn = Image.open(io.BytesIO(first)).convert("RGB")
    assert drawn.getcolors(10_000_000) is not None
    colours = {colour for _, colour in drawn.getcolors(10_000_000) or []}
    assert (255, 0, 0) in colours, "the image"
    assert {(0, 0, 0), (85, 85, 85), (170, 170, 170)} <= colours, "and every column's picture"


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_has_its_frames_in_order(kind: Format) -> None:
    frames = [
        draw_frame([picture(value), Image.new("RGB", (9, 5), "white")], f"step {value}") for value in (0.0, 0.5, 1.0)
    ]
    with Image.open(io.BytesIO(encode_animation(frames, kind, 100))) as opened:
        assert opened.n_frames == 3  # type: ignore[attr-defined]
        levels = []
        for index in range(3):
            opened.seek(index)
            levels.append(np.asarray(opened.convert("RGB"))[80, 80, 0])
    assert levels == [0, 128, 255]


def test_rows_keep_nine_digits_in_the_file_and_three_in_the_text() -> None:
    rows = [{"of": "a, b", "cosine": 0.12345678912, "islands": 3}, {"of": "c", "cosine": 1.0, "islands": 12}]
    assert as_csv(rows) == b'of,cosine,islands\n"a, b",0.123456789,3\nc,1,12\n'
    assert "| a, b |    0.123 |         3 |" in as_table(rows)


def test_a_long_title_is_broken_into_lines() -> None:
    columns = [Column("iteration 0", {"PCA": picture(0.5)})]
    short, long = (
        Image.open(io.BytesIO(draw_strip(title, None, columns))).convert("L") for title in ("a", "word " * 60)
    )
    assert short.size == long.size
    edges = np.asarray(long)[:, [0, -1]]
    assert (edges == 255).all(), "nothing is cut off at the sides"
