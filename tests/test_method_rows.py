"""Names of rows: one spelling for every variant, which is read back as what it was made of."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apm_tta.errors import UserError
from apm_tta.method_rows import canonical_row, folder_of, method_of, row_name, settings_of, split_rows
from apm_tta.plain_data import LARGEST

TEXTS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ,[]{}'\"=:#\\"), max_size=12)
NUMBERS = st.integers(-LARGEST, LARGEST) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
KEYS = st.from_regex(r"[a-z_][a-z_0-9]{0,8}", fullmatch=True)
SETTINGS = st.dictionaries(KEYS, VALUES, max_size=3)


@settings(max_examples=60)
@given(st.lists(SETTINGS, min_size=1, max_size=3))
def test_names_are_read_back_as_what_they_were_made_of(several: list[dict[str, Any]]) -> None:
    """Whatever the values: also among other names, and spelt again."""
    names = [row_name("apm", own) for own in several]
    assert split_rows(", ".join(names)) == names
    for name, own in zip(names, several, strict=True):
        assert settings_of(name) == own
        assert {type(value) for value in settings_of(name).values()} <= {*map(type, own.values()), int}
        assert canonical_row(name) == name
        assert method_of(name) == "apm"
        assert re.fullmatch(r"apm|apm\+[A-Za-z0-9.-]{0,48}\+[0-9a-f]{12}", folder_of(name))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("apm", "apm"),
        (" apm[ target = mta , iterations=60 ] ", "apm[iterations=60,target=mta]"),
        ("tda[positive_alpha=1.0]", "tda[positive_alpha=1]"),
        ("tda[positive_alpha=1e0]", "tda[positive_alpha=1]"),
        ("apm[learning_rate=1e-5]", "apm[learning_rate=1e-05]"),
        ("apm[hidden=[256,  128]]", "apm[hidden=[256,128]]"),
        ("apm[target='mta']", "apm[target=mta]"),
        ('x[a="60"]', 'x[a="60"]'),
        ("x[a='it''s, so']", 'x[a="it\'s, so"]'),
        ("zeroshot[templates=/some/file.txt]", "zeroshot[templates=/some/file.txt]"),
    ],
)
def test_a_variant_has_one_spelling(written: str, name: str) -> None:
    assert canonical_row(written) == name


def test_commas_in_brackets_and_quotes_divide_nothing() -> None:
    text = "zeroshot, apm[hidden=[8,4],target=mta] ,, x[a='],',b=it's],apm"
    assert split_rows(text) == ["zeroshot", "apm[hidden=[8,4],target=mta]", "x[a='],',b=it's]", "apm"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("apm[]", "'apm[]' is not of the form apm[key=value,...], such as apm[iterations=40,target=mta]"),
        ("apm[iterations=60", "'apm[iterations=60' is not of the form apm[key=value,...], such as"),
        ("apm[iterations]", "'apm[iterations]' is not of the form apm[key=value,...], such as"),
        ("apm[a=1]b", "'apm[a=1]b' is not of the form apm[key=value,...], such as"),
        ("[a=1]", "'[a=1]' is not of the form apm[key=value,...], such as"),
        ("apm[a b=1]", "'apm[a b=1]' is not of the form apm[key=value,...], such as"),
        ("apm[a=1,a=2]", "'apm[a=1,a=2]' sets a twice"),
        ("apm[iterations=060]", "the value of iterations in 'apm[iterations=060]': '060' is not clear: write 60 for"),
        ("apm[a=yes]", "the value of a in 'apm[a=yes]': 'yes' is not clear: write true"),
    ],
)
def test_what_is_no_variant_is_refused_in_one_line(written: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        canonical_row(written)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


def test_folders_of_rows_that_look_alike_are_apart() -> None:
    rows = ["apm", "apm[a=1]", "apm[a=-1]", "apm[a=x]", "apm[a=X]", f"apm[a={'x' * 200}]", f"apm[a={'x' * 201}]"]
    assert len({folder_of(row).lower() for row in rows}) == len(rows)
