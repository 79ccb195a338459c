"""The content of ``run.yaml``: what a run's numbers depend on, and what was asked for; it is written once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from apm_tta.configuration import Configuration
from apm_tta.data.decoding import PUBLISHED, Reading
from apm_tta.data.files.output_folders import RUN_MARK
from apm_tta.data.sample import OF_THE_TREE, parse_condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import Streaming
from apm_tta.harness.storage.field_differences import differing_fields
from apm_tta.harness.streams import Reset, build_setting
from apm_tta.method_rows import method_of
from apm_tta.methods import METHODS, Cost
from apm_tta.methods.base import find_method

MANIFEST_FILE = RUN_MARK
_SOURCE_DIGEST = re.compile(r"revisions\.sources\.(?P<method>.+)\.sha256: (?!absent there)(?!.* absent now$)")


def canonical_json(value: Any) -> str:
    """Return the one text of plain data on which its digests are taken, whatever the order of keys.

    Raises:
        TypeError: for what is not plain data.
        ValueError: for data that contain themselves.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class _Open(Configuration):
    """A model with further fields beside the named ones: the parts of a teacher's identity, a method's parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def others(self) -> dict[str, Any]:
        """The fields that are not named."""
        return dict(self.model_extra or {})


class DatasetFields(Configuration):
    """The images of a run.

    Attributes:
        name: of the card.
        ids: what an image's id is; see ``Layout.ids``.
        classes: how many there are.
        class_names: in label order.
        fingerprint: see ``Dataset.fingerprint``.
        images: how many there are under all conditions together, those of one name counted once.
        images_hashed: of how many the content was hashed before the first answer.
        images_sha256: of ``images.sha256`` in the run folder: ids and contents of those images.
        reading: by whose rules files become RGB; see ``apm_tta.data.decoding``.
        images_per_condition: under each condition, after the limit; by condition where they differ.
        several_labels: images of which several classes are right, under all conditions.
        named_subset: the list that they are from; None where they are from all of the data set.
        subset: the rule that chose them, in words.
        corruptions: ``stored``, or ``made as read``.
        corruption_parameters: whose severities.
        corruption_frame: the size of what was corrupted, and what was done to get it; None where nothing was corrupted,
            and in run folders of earlier versions, which corrupted files as they were.
        corruption_seed: of those that are made as read.
        jpeg_quality: that these pass through; None for none.
    """

    name: str
    ids: str = OF_THE_TREE
    classes: int
    class_names: tuple[str, ...]
    fingerprint: str
    images: int
    images_hashed: int
    images_sha256: str
    reading: Reading = PUBLISHED  # as every file was read before this was stated
    images_per_condition: int | dict[str, int]
    several_labels: int = 0
    named_subset: str | None = None
    subset: str
    corruptions: str
    corruption_parameters: str
    corruption_frame: str | None = None
    corruption_seed: int
    jpeg_quality: int | None

    def images_under(self, condition: str) -> int:
        """Return the number of images under one condition, after the limit."""
        number = self.images_per_condition
        return number if isinstance(number, int) else number[condition]


class ForeignFields(Configuration):
    """The foreign images of a run, of which only the clean ones are asked for.

    Attributes:
        name: of their card.
        images: how many there are, after the limit; their contents are among those of ``DatasetFields.images_sha256``.
        subset: the rule that chose them, in words.
        fingerprint: of their ids and labels in their own data set; see ``Dataset.fingerprint``.
        reading: by whose rules files become RGB.
    """

    name: str
    images: int
    subset: str
    fingerprint: str
    reading: Reading


class TeacherFields(_Open):
    """A teacher and its identity; see ``Teacher.identity``.

    Attributes:
        name: as it was asked for.
        classifier: where class weights come from.
        weights_sha256: of the file of weights.
    """

    name: str
    classifier: str
    weights_sha256: str


class MethodFields(_Open):
    """A method and its resolved parameters.

    Attributes:
        protocol: ``episodic``, ``online`` or ``transductive``.
        votes: whether its logits are counts of votes.
        templates: ``dataset``, ``file``, or the name of a published list.
        sentences: themselves.
    """

    protocol: str
    votes: bool
    templates: str
    sentences: tuple[str, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """The sentences of the class weights that the method begins with, where they are others; stated only there."""
        return tuple(self.others.get("prompts", ()))

    @property
    def first_prompts(self) -> tuple[str, ...]:
        """The sentences of the class weights that the method begins with."""
        return self.prompts or self.sentences


class StreamFields(Configuration):
    """How online methods met the images; see ``Suite``.

    Attributes:
        setting: its name.
        reset: where they were reset; a number of steps, in decimal.
        parameters: of the setting, by name.
        window: images that they saw at once where these came one by one; None where they came in batches.
    """

    setting: str
    reset: str
    parameters: dict[str, int | float] = Field(default_factory=dict)
    window: int | None = None

    @model_serializer(mode="wrap")
    def _stated(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not asked of the stream: run folders of earlier versions do not state it."""
        stated: dict[str, Any] = serialise(self)
        return {name: value for name, value in stated.items() if value not in (None, {})}

    @property
    def streaming(self) -> Streaming:
        """The same, as a run plans it.

        Raises:
            UserError: for a setting that does not exist here.
        """
        reset = int(self.reset) if self.reset.isdecimal() else cast(Reset, self.reset)
        return Streaming(build_setting(self.setting, self.parameters), reset, self.window)

    def repeats(self, conditions: Sequence[str]) -> bool:
        """Return whether a condition is shown several times."""
        return len(self.streaming.setting.passes([parse_condition(each) for each in conditions])) > len(conditions)


class SourceFields(Configuration):
    """Which code a user-defined method is; see ``Source``."""

    distribution: str | None
    version: str
    sha256: str


class RevisionFields(Configuration):
    """What a commit raises that changes numbers, and what sets the code apart from every commit.

    Attributes:
        engine: of what methods share.
        methods: by name; variants are of their method's.
        corruptions: of the families whose corruptions were made as images were read.
        uncommitted: see ``code_identity.uncommitted``.
        sources: of the methods that are not of this package, by name.
    """

    engine: int
    methods: dict[str, int]
    corruptions: dict[str, int]
    uncommitted: str
    sources: dict[str, SourceFields] = Field(default_factory=dict)


class Numbers(Configuration):
    """Everything that a number depends on; two runs that differ in any of it are two runs.

    Attributes:
        methods: by the name of their row; see ``apm_tta.method_rows``.
        versions: of this package, of the record schema, and of every library on the way from file to number.
        foreign: the foreign images; None for none, and in run folders of earlier versions.
    """

    suite: str
    dataset: DatasetFields
    conditions: tuple[str, ...]
    teacher: TeacherFields
    methods: dict[str, MethodFields]
    streams: StreamFields | Literal["episodic"]
    crop_scale: tuple[float, float]
    seeds: tuple[int, ...]
    precision: str
    shard_size: int
    versions: dict[str, str]
    revisions: RevisionFields
    foreign: ForeignFields | None = None

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all of it, which every file of records carries.

        A field that has its default is not part of it: one that a later version adds leaves earlier runs what they are.
        """
        plain = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(canonical_json(plain).encode()).hexdigest()

    def code_differences(self, other: Numbers) -> list[str]:
        """Name every version and revision that both runs have and that differs: such runs share no table.

        A user-defined method that both runs have is compared even where one of them does not state its code.
        """
        shared = {*map(method_of, self.methods)} & {*map(method_of, other.methods)}
        code: list[dict[str, Any]] = [
            {"versions": one.versions, "revisions": one.revisions.model_dump(mode="json")} for one in (self, other)
        ]
        sources = [one["revisions"].pop("sources") for one in code]
        old, new = ({f"revisions.sources.{name}": own.get(name, {}) for name in shared} for own in sources)
        return [*differing_fields(*code, common=True), *_explained(differing_fields(old, new))]


class Division(Configuration):
    """How a run is divided into parts, so that each is equally long; see ``division.part_of_files``.

    Attributes:
        parts: how many.
        costs: of an image, by method, in any unit.
        plan: the SHA-256 of the plan that states them; empty where they are the methods' formulas.
        plan_file: where that plan lay.
    """

    parts: int = Field(ge=1)
    costs: dict[str, float]
    plan: str = ""
    plan_file: str = ""


class Manifest(Configuration):
    """The content of ``run.yaml``.

    Attributes:
        numbers: what decides.
        title: of the suite.
        dataset_title: the data set in words; for a tree that may be anyone's, also which one.
        notes: what a reader of the table should know about teacher and images, one line each.
        command: that was typed, or would have been.
        limit: images under each condition; 0 for all.
        left_out: methods that cannot work with the teacher, and why.
        costs: of one image, by method.
        devices: as they were asked for.
        data_root: where the images lay when it was begun.
        prompts: where the file of learned prompts lay then; None where there is none.
        tuned: by row, settings that depart from the defaults and that the row's name does not state.
        division: of a folder that was begun with a part of the run; None in all others.
    """

    numbers: Numbers
    title: str
    dataset_title: str
    notes: tuple[str, ...] = ()
    command: tuple[str, ...]
    limit: int
    left_out: dict[str, str]
    costs: dict[str, Cost]
    devices: tuple[str, ...]
    data_root: str | None
    prompts: str | None = None
    tuned: dict[str, dict[str, Any]] = Field(default_factory=dict)
    division: Division | None = None


def refuse_other_run(
    folder: Path, before: Numbers, now: Numbers, name: Callable[[list[str]], list[str]] = list
) -> None:
    """Refuse to go on with a run whose numbers would depend on something else than they did.

    Args:
        folder: of the run.
        before: what it depends on.
        now: what it would depend on.
        name: names the images beside the line that says that they differ.

    Raises:
        UserError: naming each differing field with both values.
    """
    if differing := differences(before, now):
        raise UserError(
            f"{folder} holds another run ({'; '.join(name(differing))}); choose another --out, or --force-new for a "
            "folder beside it"
        )


def differences(there: Numbers, now: Numbers) -> list[str]:
    """Name every field in which the numbers of two runs differ, with both values.

    A parameter that a method did not have when one of the runs was computed had its default: had the default changed a
    number, the method's revision would have been raised.
    """
    old, new = there.model_dump(mode="json"), now.model_dump(mode="json")
    lines = [*_without_own(old, new, "there"), *_without_own(new, old, "now")]
    return [
        *lines,
        *_explained(differing_fields(old, new, defaults=_parameter_defaults({*there.methods, *now.methods}))),
    ]


def _without_own(own: dict[str, Any], other: Mapping[str, Any], side: str) -> Iterator[str]:
    """Take out of a run's fields the methods that only it has, and name them: their fields would say nothing more."""
    if names := [name for name in own["methods"] if name not in other["methods"]]:
        yield f"methods: {', '.join(names)} only {side}"
    own["methods"] = {name: value for name, value in own["methods"].items() if name not in names}
    gone = {*map(method_of, names)} - {*map(method_of, [*own["methods"], *other["methods"]])}
    for field in ("methods", "sources"):
        revisions = own["revisions"][field]
        own["revisions"][field] = {name: value for name, value in revisions.items() if name not in gone}


def _explained(lines: Iterable[str]) -> list[str]:
    """Say beside the digest of a method's code what it means that it differs."""
    explained = []
    for line in lines:
        if found := _SOURCE_DIGEST.match(line):
            line += f" (method {found['method']} was edited, or something that it refers to)"
        explained.append(line)
    return explained


def _parameter_defaults(methods: Iterable[str]) -> dict[str, Any]:
    """Return the plain defaults of parameters by dotted field, of the methods that exist here."""
    known = {*METHODS.names()}
    return {
        f"methods.{name}.{field.name}": list(field.default) if isinstance(field.default, tuple) else field.default
        for name in sorted(name for name in {*methods} if method_of(name) in known)
        for field in fields(find_method(name).Parameters)
        if isinstance(field.default, str | int | float | bool | tuple | None)
    }
