"""``run.yaml`` as a file: written whole with digests of its content, and read back only as it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from apm_tta.configuration import one_line, read_yaml
from apm_tta.errors import UserError
from apm_tta.harness.storage.field_differences import flatten
from apm_tta.harness.storage.manifest import MANIFEST_FILE, Manifest, canonical_json
from apm_tta.harness.storage.records import SCHEMA_VERSION, record_files
from apm_tta.system.files import write_file
from apm_tta.wording import pluralise

# libyaml's writer, several times as fast, wherever PyYAML was built with it.
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MANIFEST_SCHEMA = 2
"""Of the file as a whole; files without one are of schema 1."""
_SCHEMA, _DIGESTS, _SHA256 = "schema", "digests", "sha256"
_DIGITS = 12
"""Of a field's digest, which only tells which field differs: that none does is decided by the digest of them all."""
_NAMED, _LONGEST = 8, 80
"""How many changed fields a message names, and with how many characters each."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``run.yaml``, whole or not at all.

    Raises:
        UserError: when the folder cannot be written.
    """
    plain = manifest.model_dump(mode="json")
    if not manifest.numbers.revisions.sources:
        del plain["numbers"]["revisions"]["sources"]
    if not manifest.tuned:
        del plain["tuned"]
    if manifest.division is None:
        del plain["division"]
    write_file(folder / MANIFEST_FILE, manifest_text(plain).encode())


def manifest_text(plain: Mapping[str, Any]) -> str:
    """Return the text of ``run.yaml``: its schema, the manifest's fields, and digests of them.

    Raises:
        TypeError: for what is not plain data.
    """
    content: dict[str, Any] = {_SCHEMA: MANIFEST_SCHEMA, **plain}
    digests = _field_digests(content)
    tail = {_DIGESTS: digests, _SHA256: _digest({**content, _DIGESTS: digests})}
    layout: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 120}
    head: str = yaml.dump(content, Dumper=_SafeDumper, **layout)
    return head + str(yaml.dump(tail, Dumper=_SafeDumper, default_flow_style=None, **layout))


def read_manifest(folder: Path) -> Manifest:
    """Return what ``write_manifest`` wrote.

    Raises:
        UserError: when ``folder`` is no run folder, or its manifest is damaged, was edited, or is another version's.
    """
    path = folder / MANIFEST_FILE
    if not folder.exists():
        raise UserError(f"{folder} does not exist: no run is there")
    if not path.is_file():
        lost = "; the run's own command with --out writes it anew" if record_files(folder) else ""
        raise UserError(f"{folder} is not a run folder: it has no {MANIFEST_FILE}{lost}")
    try:
        content = read_yaml(path)
    except UserError as error:
        raise UserError(f"{error}; {_REPAIR}") from None
    if not isinstance(content, dict) or "numbers" not in content:
        raise UserError(f"{path} is not a manifest of this program, or was cut off; {_REPAIR}")
    if content.get(_SCHEMA) != MANIFEST_SCHEMA:
        raise UserError(
            f"{path} is not of schema {MANIFEST_SCHEMA}, which this version reads; the apm-tta that wrote it reads it"
        )
    _refuse_changed(path, content)
    del content[_SCHEMA]
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path} is another version's ({one_line(error)}); that version reads it") from None
    if (schema := manifest.numbers.versions.get("record_schema")) != str(SCHEMA_VERSION):
        raise UserError(
            f"{path} is of record schema {schema or 'none'}, this version reads {SCHEMA_VERSION}; the version of "
            "apm-tta that wrote it reads it"
        )
    return manifest


_REPAIR = (
    "restore it from a copy, or move it out of the folder: the run's own command with --out then writes it anew, and "
    "keeps the records"
)


def _refuse_changed(path: Path, content: dict[Any, Any]) -> None:
    """Refuse content that is not what was written, naming the fields; take the digests out of what is.

    Raises:
        UserError: naming the fields that differ, as far as they can be told.
    """
    in_order = list(content)[:1] == [_SCHEMA] and list(content)[-2:] == [_DIGESTS, _SHA256]
    recorded, digests = content.pop(_SHA256, None), content.pop(_DIGESTS, None)
    if not isinstance(digests, dict) or recorded is None:
        raise UserError(f"{path} was cut off: it lacks the digests at its end; {_REPAIR}")
    try:
        found = _field_digests(content)
        if _digest({**content, _DIGESTS: digests}) == recorded:
            # The digest is the same for any order of keys, and the order of rows is that of the methods.
            if in_order and list(found) == list(digests):
                return
            raise UserError(f"{path} was rewritten: its keys are in another order than the run wrote them; {_REPAIR}")
    except (TypeError, ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it holds what this program does not write; {_REPAIR}") from None
    differing = [name for name in {**digests, **found} if digests.get(name) != found.get(name)]
    named = ", ".join(map(_shown, differing[:_NAMED])) or "its digests"
    more = f" and {pluralise(len(differing) - _NAMED, 'more field')}" if len(differing) > _NAMED else ""
    raise UserError(f"{path} was edited or damaged after the run wrote it: {named}{more}; {_REPAIR}")


def _shown(name: Any) -> str:
    """Return a field's name as it can stand in a message: nobody has validated it."""
    text = str(name)
    return text if text.isprintable() and len(text) <= _LONGEST else f"{text[:_LONGEST]!a}..."


def _field_digests(content: Mapping[str, Any]) -> dict[str, str]:
    return {name: _digest(value)[:_DIGITS] for name, value in flatten(dict(content)).items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
