"""Suites: the definition of what ``run-bench NAME`` runs, as data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from apm_tta.configuration import Configuration, one_line, read_configuration, validated
from apm_tta.data.sample import CLEAN, SEVERITIES, Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import SHARD_SIZE, Streaming
from apm_tta.harness.request.limits import MOST_IMAGES, Classifier
from apm_tta.harness.streams import Reset, build_setting
from apm_tta.method_rows import canonical_row, is_variant, method_of
from apm_tta.resources import SUITES, yaml_names, yaml_path
from apm_tta.wording import pluralise

CropShare = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]


class Suite(Configuration):
    """One ``benchmarks/suites/NAME.yaml``, and after overrides everything that was requested of a run.

    Attributes:
        name: name on the command line.
        title: one line for ``run-bench --help``.
        dataset: name of a dataset card.
        teacher: name of a teacher.
        methods: names of rows, in the order of the table: methods, and variants of them with settings in brackets (see
            ``apm_tta.method_rows``); ``all`` stands for every registered method, ``fast`` for the fast ones, alone or
            with variants beside it.
        clean: whether the uncorrupted images are a condition too.
        foreign: name of another data set's card, whose images every method answers too, so that the report can say how
            well they are told from the clean ones; null for none.
        domains: names of the domains of a data set that has these, in the order of the table; empty for none.
        corruptions: names of corruptions, in the order of the table; empty for none.
        severities: 1 .. 5, applied to every corruption.
        jpeg_quality: JPEG quality at which images corrupted while reading are recompressed, as if saved and read again;
            null for no recompression. The released ImageNet-C has 85.
        crop_scale: smallest and largest share of an image's area that a random view shows.
        setting: name of the setting of the streams of online methods; see ``apm_tta.harness.streams``.
        stream: parameters of the setting, by name.
        window: images come one by one, and an online method sees the last so many of them; null for its own batches.
        reset: where online methods are reset: at every ``corruption``, at every ``dataset`` (corruptions of one
            severity), ``never``, or every so many steps of a method; null is the setting's default.
        classifier: where class weights come from: ``text``, ``head``, ``prototypes``; ``auto`` takes the first of these
            that is available.
        shots: labelled images per class for prototypes and nearest neighbours, where a support is given.
        subset: name of a list of images in ``apm_tta.data.named_subsets``; null for all images.
        limit: images per condition, drawn evenly over the classes; 0 for all.
        seeds: seeds of every random draw of every method; each seed has its own cells.
        batch_size: images that a method sees at once; answers do not depend on it.
        shard_size: images under one condition that are recorded in one file.
        precision: of products: ``float32``; ``tf32``, on GPUs; ``bfloat16``, by autocast. See ``apm_tta.precision``.
        settings: parameters of methods, by method name and key; those of variants come before them.
    """

    name: str
    title: str
    dataset: Name
    teacher: Name
    methods: tuple[Name, ...] = Field(min_length=1)
    clean: bool = True
    foreign: Name | None = None
    domains: tuple[Name, ...] = ()
    corruptions: tuple[Name, ...] = ()
    severities: tuple[int, ...] = ()
    jpeg_quality: int | None = Field(default=None, ge=1, le=100)
    crop_scale: tuple[CropShare, CropShare] = (0.08, 1.0)
    setting: Name = "iid"
    stream: dict[str, Any] = Field(default_factory=dict)
    window: int | None = Field(default=None, ge=1, le=MOST_IMAGES)
    reset: Reset | Annotated[int, Field(ge=1, le=MOST_IMAGES)] | None = None
    classifier: Classifier = "auto"
    shots: int = Field(default=16, ge=1, le=MOST_IMAGES)
    subset: Name | None = None
    limit: int = Field(default=0, ge=0, le=MOST_IMAGES)
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    batch_size: int = Field(default=64, ge=1, le=MOST_IMAGES)
    shard_size: int = Field(default=SHARD_SIZE, ge=1, le=MOST_IMAGES)
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("methods")
    @classmethod
    def _one_spelling(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(canonical_row, values))

    @field_validator("methods", "domains", "corruptions", "severities", "seeds")
    @classmethod
    def _no_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError("names something twice")
        return values

    @field_validator("jpeg_quality", "foreign", "subset", "window", "reset", mode="before")
    @classmethod
    def _none_by_name(cls, value: Any) -> Any:
        """Replace the command line's word ``none`` by a suite's null."""
        return None if value == "none" else value

    @field_validator("crop_scale")
    @classmethod
    def _in_order(cls, values: tuple[float, float]) -> tuple[float, float]:
        if values[0] > values[1]:
            raise ValueError("the smaller share must come first")
        return values

    @property
    def streaming(self) -> Streaming:
        """How online methods meet the images.

        Raises:
            UserError: for a setting that does not exist, or a parameter that it does not have. Exit code 2.
        """
        setting = build_setting(self.setting, self.stream)
        return Streaming(setting, self.reset or setting.default_reset, self.window)

    def conditions(self) -> list[Condition]:
        """Return every condition to run: clean first, then domain by domain, then corruption by corruption.

        Raises:
            UserError: for an unknown severity, or when nothing is left to run. Exit code 2.
        """
        for severity in self.severities:
            if severity not in SEVERITIES:
                raise UserError(f"severity {severity} does not exist; severities are 1 to 5", exit_code=2)
        corrupted = [Condition(name, severity) for name in self.corruptions for severity in self.severities]
        conditions = [*([CLEAN] if self.clean else []), *map(Condition, self.domains), *corrupted]
        if not conditions:
            raise UserError(
                "nothing to run: no clean images, no domain, and no corruption at any severity", exit_code=2
            )
        if self.foreign is not None and not self.clean:
            raise UserError(f"foreign images ({self.foreign}) are told from clean ones: run these too", exit_code=2)
        return conditions


_SIMPLE = {name for name in Suite.model_fields if name not in ("settings", "title", "name", "stream")}


def load_suite(name: str, overrides: Mapping[str, Any] | None = None) -> Suite:
    """Load a suite with ``overrides`` in place of its fields; ``settings`` are merged key by key.

    Raises:
        UnknownName: listing the suites that exist.
        UserError: when the file or an override is invalid.
    """
    suite = read_configuration(suite_path(name), Suite)
    changes = dict(overrides or {})
    settings = {method: dict(values) for method, values in suite.settings.items()}
    for method, values in changes.pop("settings", {}).items():
        settings.setdefault(method, {}).update(values)
    if "stream" in changes and changes.get("setting", suite.setting) == suite.setting:
        changes["stream"] = {**suite.stream, **changes["stream"]}
    elif "setting" in changes and changes["setting"] != suite.setting:
        changes.setdefault("stream", {})
    try:
        changed = validated(Suite, {**suite.model_dump(), **changes, "settings": settings})
    except ValidationError as error:
        raise UserError(f"{one_line(error)}{_example(suite, error)}", exit_code=2) from None
    except ValueError as error:
        raise UserError(str(error), exit_code=2) from None
    _refuse_half(changed, changes)
    return changed


def _refuse_half(suite: Suite, changes: Mapping[str, Any]) -> None:
    """Refuse corruptions at no severity, and severities of no corruption, where they were asked for.

    Raises:
        UserError: naming what was asked for, and what is missing. Exit code 2.
    """
    if changes.get("corruptions") and not suite.severities:
        names = ",".join(suite.corruptions)
        raise UserError(f"--corruptions {names} has no effect without severities: add --severities 3,5", exit_code=2)
    if changes.get("severities") and not suite.corruptions and "corruptions" not in changes:
        levels = ",".join(map(str, suite.severities))
        raise UserError(f"--severities {levels} has no effect without corruptions: add --corruptions fog", exit_code=2)


def own_settings(name: str) -> dict[str, dict[str, Any]]:
    """Return the parameters that a suite's file sets, by method name and key."""
    return read_configuration(suite_path(name), Suite).settings


def named_together(methods: Sequence[str]) -> Literal["", "all", "fast"]:
    """Return the word that stands for several methods, where nothing but variants stands beside it; else nothing."""
    words = [name for name in methods if not is_variant(name)]
    if words == ["all"]:
        return "all"
    return "fast" if words == ["fast"] else ""


def refuse_unused_settings(suite: Suite, overrides: Mapping[str, Any], rows: Iterable[str]) -> None:
    """Refuse settings of a method that the run does not have.

    Args:
        suite: of the run.
        overrides: see ``load_suite``.
        rows: of the run's table, those that another one requires beside it included.

    Raises:
        UserError: naming the method, and those that there are. Exit code 2.
    """
    known = {*map(method_of, rows)}
    for method in overrides.get("settings", {}):
        if method not in known and not named_together(suite.methods):
            methods = ", ".join(suite.methods)
            raise UserError(f"--set {method}.KEY has no effect: the methods are {methods}", exit_code=2)


def _example(suite: Suite, error: ValidationError) -> str:
    """Return the suite's own value of the first field that is wrong, which is right."""
    field = next((str(item["loc"][0]) for item in error.errors() if item["loc"]), "")
    value = getattr(suite, field) if field in _SIMPLE else None
    return "" if value in (None, ()) else f"; for example {_word(value)}"


def run_title(suite: Suite, dataset_title: str, images: Sequence[int]) -> str:
    """Return the title of a run: the suite's own, or what is run where an option changes what that title says.

    Args:
        suite: with the options of the run.
        dataset_title: the data set in words.
        images: how many there are under each condition, in their order.
    """
    default = read_configuration(suite_path(suite.name), Suite)
    if all(getattr(suite, name) == getattr(default, name) for name in _TITLED):
        return suite.title
    corruptions = len(suite.corruptions) if suite.severities else 0
    parts = ["clean"] if suite.clean else []
    if suite.domains:
        parts.append(f"domain {suite.domains[0]}" if len(suite.domains) == 1 else f"{len(suite.domains)} domains")
    if corruptions:
        *others, last = map(str, suite.severities)
        levels = f"{', '.join(others)} and {last}" if others else last
        noun = "severity" if len(suite.severities) == 1 else "severities"
        parts.append(f"{pluralise(corruptions, 'corruption')} at {noun} {levels}")
    each = " each" if len(suite.conditions()) > 1 else ""
    jpeg = f", with JPEG at quality {suite.jpeg_quality}" if corruptions and suite.jpeg_quality is not None else ""
    named = "" if suite.subset is None else f" of {suite.subset}"
    return f"{dataset_title}: {' and '.join(parts)}, {span_of_images(images)}{named}{each}{jpeg}"


def span_of_images(images: Sequence[int]) -> str:
    """Return ``20 images``, or ``1,670 to 3,929 images`` where the conditions differ."""
    fewest, most = min(images), max(images)
    return f"{fewest:,} to {pluralise(most, 'image')}" if fewest < most else pluralise(most, "image")


_TITLED = ("dataset", "teacher", "clean", "domains", "corruptions", "severities", "subset", "limit", "jpeg_quality")
"""The fields that titles of suites speak of."""


def command_words(suite: Suite) -> list[str]:
    """Return the command for ``suite``: its name, and an option for every field that differs from its file."""
    default = read_configuration(suite_path(suite.name), Suite)
    words = ["run-bench", suite.name]
    for name in Suite.model_fields:
        requested, in_file = getattr(suite, name), getattr(default, name)
        if name in ("name", "title", "settings", "stream") or requested == in_file:
            continue
        if name == "clean":
            words.append("--clean" if requested else "--no-clean")
            continue
        words += [f"--{name.replace('_', '-')}", _word(requested)]
    for key, value in suite.stream.items():
        if default.setting != suite.setting or default.stream.get(key) != value:
            words += [f"--{key.replace('_', '-')}", _word(value)]
    for method, values in suite.settings.items():
        for key, value in values.items():
            if default.settings.get(method, {}).get(key) != value:
                words += ["--set", f"{method}.{key}={json.dumps(value)}"]
    return words


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def suite_path(name: str) -> Path:
    """Return the path of a suite's file.

    Raises:
        UnknownName: listing the suites that exist.
    """
    return yaml_path(SUITES, "suite", name)


def suite_names() -> list[str]:
    """Return the names of all suites."""
    return yaml_names(SUITES)
