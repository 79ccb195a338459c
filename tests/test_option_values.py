"""Every option and every parameter of a method: what is accepted is finite, of its type and within a range."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal, get_args, get_origin, get_type_hints

import annotated_types
import click
import numpy as np
import pytest
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st

import apm_tta
from apm_tta.api.run import resolve
from apm_tta.cli import main
from apm_tta.command_line import main_group
from apm_tta.commands import option_types
from apm_tta.configuration import Configuration, read_configuration
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, build_parameters
from apm_tta.plain_data import LARGEST, parse_plain
from apm_tta.resources import SUITES, yaml_names


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    """Walk every command; of the suites, whose options are the same, one."""
    context = click.Context(main_group)
    for name in main_group.list_commands(context):
        if name not in yaml_names(SUITES) or name == "demo":
            command = main_group.get_command(context, name)
            assert command is not None
            yield from ((f"{name} {parameter.name}", parameter) for parameter in command.params)


OPTIONS = dict(parameters())
OWN = tuple(
    kind for kind in vars(option_types).values() if isinstance(kind, type) and kind.__module__ == option_types.__name__
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(
        ["", " ", ",", ",,", "nan", "inf", "-inf", "1e999", "9" * 400, "010", "1_0", "0x1", "true", "none"]
    ),
    st.lists(st.one_of(st.integers().map(str), st.text(max_size=5)), max_size=4).map(",".join),
    st.builds("{}.{}={}".format, st.sampled_from(["apm", "x", ""]), st.text(max_size=9), st.text(max_size=9)),
)


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_a_type_that_knows_its_range(name: str) -> None:
    """click's own numbers take NaN, its paths an empty text, and its texts anything."""
    parameter = OPTIONS[name]
    kind = parameter.type
    assert isinstance(kind, (*OWN, click.Choice)) or (isinstance(parameter, click.Option) and parameter.is_flag)
    if isinstance(kind, option_types.Whole | option_types.Amount):
        assert kind.convert(str(kind.example), parameter, None) == kind.example
        with pytest.raises(click.BadParameter, match=f"such as {kind.example}"):
            kind.convert("nan", parameter, None)


@fuzzed(60)
@given(name=st.sampled_from(list(OPTIONS)), value=VALUES)
def test_an_option_takes_a_value_of_its_range_or_says_in_one_line_what_it_takes(name: str, value: str) -> None:
    parameter = OPTIONS[name]
    try:
        converted = parameter.type.convert(value, parameter, click.Context(main_group))
    except click.BadParameter as error:
        message = error.format_message()
        assert "\n" not in message.replace(value, "")
        assert len(message) <= 300 + len(value)
        return
    assert all(math.isfinite(number) and abs(number) <= LARGEST for number in numbers_in(converted))
    if isinstance(parameter.type, option_types.Whole | option_types.Amount):
        assert parameter.type.least <= converted <= parameter.type.most


METHOD_PARAMETERS = [(name, key) for name in METHODS.names() for key in asdict(build_parameters(name, {}))]
ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.binary(max_size=3),
        st.sampled_from([10**20, 10**400, -1, 0, 1e-320, np.int64(3), np.float32("nan"), object()]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)


def bounds(kind: Any) -> Iterator[tuple[Any, set[type]]]:
    """Walk the numbers of a type, each with the kinds of its bounds."""
    if get_origin(kind) is Literal:
        return
    metadata = getattr(kind, "__metadata__", ())
    inner = get_args(kind)[0] if metadata else kind
    if inner in (int, float):
        yield inner, {type(each) for each in metadata}
    elif any("GetPydanticSchema" in type(each).__name__ for each in metadata):
        return  # a type of its own, which is fed below
    else:
        for each in get_args(inner):
            yield from bounds(each)


@pytest.mark.parametrize(("method", "key"), METHOD_PARAMETERS)
def test_every_number_of_a_method_has_both_bounds(method: str, key: str) -> None:
    kind = get_type_hints(METHODS.get(method).Parameters, include_extras=True)[key]
    for number, found in bounds(kind):
        assert found & {annotated_types.Ge, annotated_types.Gt}, f"{number} without a lower bound"
        assert found & {annotated_types.Le, annotated_types.Lt}, f"{number} without an upper bound"


@fuzzed(100)
@given(place=st.sampled_from(METHOD_PARAMETERS), value=ANYTHING)
def test_a_parameter_takes_a_value_of_its_range_or_one_line_says_why_not(place: tuple[str, str], value: Any) -> None:
    method, key = place
    try:
        taken, refused = asdict(build_parameters(method, {key: value}))[key], None
    except UserError as error:
        taken, refused = None, (error.exit_code, str(error).count("\n"))
    assert refused in (None, (2, 0))
    for number in numbers_in(taken):
        assert math.isfinite(number)
        assert abs(number) <= 1e6
    if isinstance(value, bool) and refused is None:
        assert taken is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("40", 40), ("-3", -3), ("0", 0), ("1e-4", 1e-4), ("1e3", 1000.0), ("0.5", 0.5), ("true", True),
        ("false", False),
        ("null", None), ("", None), ("[256, 128]", [256, 128]), ("simple", "simple"), ("'010'", "010"),
        ('"yes"', "yes"),
        ("a:b", "a:b"), ("/path/to/1", "/path/to/1"), ("none", "none"),
    ],
)  # fmt: skip
def test_what_a_text_means(text: str, value: Any) -> None:
    found = parse_plain(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("010", "write 10 for the number"), ("1_000", "write 1000 for the number"), ("0x10", "write 16 for the number"),
        ("0o10", "write 8 for the number"), ("1:30", '"1:30" in quotes'), ("2026-01-01", '"2026-01-01" in quotes'),
        ("yes", "write true"), ("off", "write false"), ("True", "write true"), ("~", "write null"),
        (".inf", '".inf" in quotes'), ("-.inf", '"-.inf" in quotes'), ("1e999", "is not a number"),
        ("!!int 010", "is not a whole number"), ("9" * 30, "is not a whole number"), ("[&a 1, *a]", "alias"),
        ("{a: 1, a: 2}", "twice"), ("[1", "expected"), ("!!python/name:os", "tag"),
        ("!!timestamp 2026-01-01", "a date"),
    ],
)  # fmt: skip
def test_what_readers_of_yaml_disagree_on_is_refused(
    text: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        parse_plain(text)
    assert main(["demo", "--methods", "apm", "--set", f"apm.iterations={text}", "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert advice in said
    assert said.count("\n") == 1


@fuzzed(100)
@given(st.text(max_size=20))
def test_a_text_is_plain_data_or_refused_in_one_line(text: str) -> None:
    said = ""
    try:
        parse_plain(text)
    except ValueError as error:
        said = str(error).replace(text, "")
    assert "\n" not in said


class Card(Configuration):
    """The type that the files below are read as."""

    count: int
    share: float = 0.5
    on: bool = False


@pytest.mark.parametrize("line", ["count: 010", "count: true", "count: '4'", "count: 1:30", "share: .nan\ncount: 1",
                                  "count: 1\non: yes", "count: 1\non: 1", "1: 2\ncount: 1"])  # fmt: skip
def test_a_file_that_people_write_is_read_by_the_same_rule(line: str, tmp_path: Any) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(line)
    with pytest.raises(UserError, match=r"card\.yaml") as caught:
        read_configuration(path, Card)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": True}, "limit: Input should be a valid integer, not True"),
        ({"shots": 1.0}, "shots: Input should be a valid integer, not 1.0"),
        ({"limit": 10**400}, "limit: a whole number of more than 64 bits"),
        ({"seeds": [0, 0]}, "seeds: names something twice"),
        ({"crop_scale": (0.1, float("nan"))}, "crop_scale: nan is not a finite number"),
        ({"memory": True}, "memory True is not a number"),
        ({"memory": float("inf")}, "memory inf is not a number"),
        ({"gpu_share": "1"}, "gpu_share '1' is not a number"),
        ({"workers": True}, "workers True is not a whole number"),
        ({"quiet": "no"}, "quiet 'no' is neither True nor False"),
        ({"ray": " "}, "ray ' ' is not the address"),
        ({"teacher": " "}, "teacher: "),
        ({"out": ""}, "is not a path"),
        ({"support": "a" * 5000}, "too long for a path"),
        ({"settings": {"apm": {"iterations": True}}}, "iterations: Input should be a valid integer, not True"),
        ({"settings": {"apm": {"learning_rate": float("nan")}}}, "apm: learning_rate: nan is not a finite number"),
        ({"settings": {"apm": {"hidden": object()}}}, "apm: hidden: a object is not a number"),
        ({"settings": {"zeroshott": {}}}, "unknown method 'zeroshott'"),
        ({"methods": "zeroshott", "settings": {"zeroshot": {"templates": "simple"}}}, "unknown method 'zeroshott'"),
        ({"clean": 1}, "clean: Input should be a valid boolean, not 1"),
    ],
)
def test_a_value_that_python_converts_in_silence_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("demo", options)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_numpy_s_numbers_are_the_numbers_that_they_hold() -> None:
    given_by_numpy = {"limit": np.int64(4), "seeds": np.arange(2), "settings": {"apm": {"iterations": np.int32(3)}}}
    suite = resolve("demo", {**given_by_numpy, "methods": "apm"}).suite
    assert (suite.limit, suite.seeds, suite.settings["apm"]) == (4, (0, 1), {"iterations": 3})
    assert type(suite.limit) is int


@pytest.mark.parametrize("views", [10**20, 5000, True, 2.0, "64"])
def test_views_that_no_memory_allows_are_refused_at_once(views: Any) -> None:
    with pytest.raises(UserError, match=r"method mta: views: .*; for example mta.views=64"):
        apm_tta.load_method("mta", "embedded", classes=["a", "b"], views=views)
