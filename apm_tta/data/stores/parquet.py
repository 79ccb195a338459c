"""Hugging Face's parquet files: a column of images, each with the name of its file, and one of labels.

A label is a number, or a list of them where several classes of an image are right; beside lists may be a column of
lists of names, by which the order of the classes is seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from apm_tta.data.cards import DatasetCard
from apm_tta.data.class_lists import ClassList
from apm_tta.data.image_files.stored_bytes import named_error
from apm_tta.data.layouts import Layout
from apm_tta.data.sample import Condition, StoredImage
from apm_tta.data.stores.base import STORES, Contents, Item, Store
from apm_tta.data.stores.row_groups import read_value
from apm_tta.data.stores.splits import choose_parts, find_parts
from apm_tta.errors import UserError, describe_error
from apm_tta.wording import first_few, pluralise

SUFFIX = ".parquet"


class _Columns(NamedTuple):
    """Names of the columns, and the classes in the order of the labels where the file names them.

    ``names`` is the column that calls each of several labels by its name; None for none.
    """

    image: str
    label: str
    classes: tuple[str, ...] | None
    names: str | None


class _Rows(NamedTuple):
    """Of each row the name of the image's file, its labels and what they are called, and whether there is an image."""

    files: Sequence[str | None]
    labels: Sequence[Sequence[int]]
    names: Sequence[Sequence[str]]
    stored: Sequence[bool]


@STORES.register("parquet")
class ParquetStore(Store):
    """Files ``SPLIT-00000-of-00014.parquet`` whose rows are ``image`` (``bytes`` and ``path``) and ``label``.

    The columns are found by their types, as the ``datasets`` library states them in the schema, whatever their names.
    One row group is read at a time, and those read last are kept.
    """

    form = "parquet files"
    keys = "file and row"

    def __init__(self, place: Path, tree: Layout[Any]) -> None:
        super().__init__(place, tree)
        self._parts = choose_parts(place, find_parts(place, SUFFIX), tree.card.splits, tree.open_ended)

    @classmethod
    def lies_in(cls, folder: Path) -> bool:
        parts = find_parts(folder, SUFFIX)
        if not parts:
            return False
        try:
            schema = pq.read_schema(parts[0].path)
        except (OSError, pa.ArrowException):
            return True  # a damaged one is said to be so
        return _features(schema) != {} or any(_holds_bytes(column.type) for column in schema)

    def problems(self) -> list[str]:
        return list(self._parts.problems)

    def contents(self, condition: Condition) -> Contents:
        found, columns = Contents(), self._columns
        for path in self._parts.files:
            rows = self._read_rows(path, columns)
            for what, there in (("label", rows.labels), ("image", rows.stored)):
                if (row := next((row for row, each in enumerate(there) if not each), None)) is not None:
                    found.problems.append(f"{path}, row {row}, has no {what} in the column {getattr(columns, what)}")
                    break
            else:
                found.items += [
                    Item(f"{path.name}/{row}", own[0], name=name and PurePosixPath(name).name, others=(*own[1:],))
                    for row, (name, own) in enumerate(zip(rows.files, rows.labels, strict=True))
                ]
                found.problems += _add_names(found.class_names, path, columns, rows)
        return found

    def classes(self) -> ClassList | None:
        if not self._parts.files:
            return None
        names = self._columns.classes
        return None if names is None else ClassList(names, names)

    def stored(self, key: str) -> StoredImage:
        path, row = self._located(key)
        return StoredImage(self.tree.patience.read(key, lambda: read_value(path, self._columns.image, row)))

    def reading_order(self, keys: Sequence[str]) -> list[str]:
        return sorted(keys, key=self._located)

    def _located(self, key: str) -> tuple[Path, int]:
        name, _, row = key.rpartition("/")
        return self._parts.files[0].with_name(name), int(row)

    @cached_property
    def _columns(self) -> _Columns:
        """Find the columns, the same in all files.

        Raises:
            UserError: when there are none, or several that could be meant, or another file has others.
        """
        found = [_columns_of(path, self.tree.card) for path in self._parts.files]
        for path, columns in zip(self._parts.files, found, strict=True):
            if columns != found[0]:
                raise UserError(
                    f"{path} has other columns or classes than {self._parts.files[0].name}; keep them apart"
                )
        return found[0]

    def _read_rows(self, path: Path, columns: _Columns) -> _Rows:
        """Read what each row says of its image; the images themselves are not read."""
        with _open(path) as file:
            nested = [f"{columns.image}.path"] if _has_path(file.schema_arrow.field(columns.image).type) else []
            named = [columns.names] if columns.names is not None else []
            table = file.read(columns=[columns.label, *named, *nested])
        labels = [_listed(each) for each in table.column(columns.label).to_pylist()]
        names = [_listed(each) for name in named for each in table.column(name).to_pylist()]
        if not nested:
            return _Rows([None] * len(labels), labels, names, [True] * len(labels))
        images = table.column(columns.image)
        files = [None if image is None else image["path"] for image in images.to_pylist()]
        return _Rows(files, labels, names, images.is_valid().to_pylist())


def _listed(value: Any) -> list[Any]:
    """Return the values in a cell; none where one of them is null."""
    values = value if isinstance(value, list) else [value]
    return [] if None in values else values


def _add_names(names: dict[int, str], path: Path, columns: _Columns, rows: _Rows) -> list[str]:
    """Add what rows call their labels to ``names``; return a line on the first row that contradicts itself or these."""
    for row, (labels, own) in enumerate(zip(rows.labels, rows.names, strict=False)):
        if len(labels) != len(own):
            given = f"{pluralise(len(labels), 'label')} and {pluralise(len(own), 'name')}"
            return [f"{path}, row {row}, has {given} in the columns {columns.label} and {columns.names}"]
        for label, name in zip(labels, own, strict=True):
            if names.setdefault(label, name) != name:
                return [f"{path}, row {row}, calls label {label} {name!r}, an earlier row {names[label]!r}"]
    return []


def _columns_of(path: Path, card: DatasetCard) -> _Columns:
    with _open(path) as file:
        schema = file.schema_arrow
    features = _features(schema)
    kinds = {name: _innermost(feature).get("_type") for name, feature in features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image" and name in schema.names]
    images = images or [column.name for column in schema if _has_path(column.type)]
    images = images or [column.name for column in schema if _holds_bytes(column.type)]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel" and name in schema.names]
    labels = labels or [column.name for column in schema if pa.types.is_integer(_of_list(column.type))]
    if len(labels) > 1 and card.class_count is not None:  # CIFAR-100 has two: of its 20 superclasses too
        labels = [name for name in labels if len(_names_in(features, name) or ()) == card.class_count] or labels
    named = {"image": images, "label": labels}
    for what, usual in (("image", "image"), ("label", "label")):
        if usual in named[what]:
            named[what] = [usual]
        if len(named[what]) != 1:
            found = f"{first_few(named[what])} could be" if named[what] else "none is"
            listed = ", ".join(f"{column.name} ({column.type})" for column in schema)[:200]
            raise UserError(f"{path}: which column is the {what} is not clear, {found}; it has {listed}")
    image, label = named["image"][0], named["label"][0]
    several = _is_list(schema.field(label).type)
    words = [column.name for column in schema if _is_list(column.type) and pa.types.is_string(_of_list(column.type))]
    return _Columns(image, label, _names_in(features, label), words[0] if several and len(words) == 1 else None)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what the ``datasets`` library states of the columns; nothing where another program wrote them."""
    stated = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stated)["info"]["features"] if stated else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _names_in(features: Mapping[str, Any], column: str) -> tuple[str, ...] | None:
    names = _innermost(features.get(column)).get("names")
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _innermost(feature: Any) -> Mapping[str, Any]:
    """Return what a column's values, or those of its lists, are; versions of ``datasets`` write lists in three ways."""
    while isinstance(feature, list) and feature:
        feature = feature[0]
    if not isinstance(feature, dict):
        return {}
    return _innermost(feature["feature"]) if "feature" in feature else feature


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _of_list(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if _is_list(kind) else kind


def _has_path(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise named_error(path, error) from None
        raise UserError(f"{path} is not a whole parquet file ({describe_error(error)}); download it again") from None
