"""YAML files read as typed data, with errors of one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from apm_tta.errors import UserError


class Configuration(BaseModel):
    """Base class of everything that is read from a file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


C = TypeVar("C", bound=Configuration)


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML's safe loader, except that a key that appears twice is an error, where PyYAML takes the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} appears twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file with plain types only and no key twice.

    Raises:
        UserError: when it cannot be read or is not valid YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except Exception as error:  # PyYAML raises whatever it meets, such as KeyError for "!!bool maybe"
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None


def read_configuration(path: Path, kind: type[C]) -> C:
    """Read a YAML file as a ``kind``.

    Raises:
        UserError: naming the file and each invalid field.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} does not hold a mapping of keys to values")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {one_line(error)}") from None


def one_line(error: ValidationError) -> str:
    """Format pydantic's errors as one line."""
    items = error.errors()
    # A list whose items are wrong is also said to be empty, which it is not.
    nested = {item["loc"][:-1] for item in items if item["loc"]}
    told = [item for item in items if not (item["type"] == "too_short" and item["loc"] in nested)]
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'value'}: {_message(item)}" for item in told)


def _message(item: Any) -> str:
    if item["type"] == "too_short" and item["ctx"]["min_length"] == 1:
        return "name at least one"
    message: str = item["msg"]
    return message.removeprefix("Value error, ")
