"""The ``config.json`` beside a timm checkpoint, as timm and the hub write it, read whole."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict, ValidationError
from timm.models import PretrainedCfg
from torchvision.transforms import InterpolationMode

from apm_tta.configuration import Configuration, one_line
from apm_tta.errors import UserError
from apm_tta.teachers.strict_json import read_strict_json

FILE = "config.json"

# Of values in 0 .. 1: a mean of 123.7 would be one of bytes.
_Mean = Annotated[float, Ge(0), Le(1)]
_Deviation = Annotated[float, Gt(0), Le(1)]
# Above 1 the crop has a border, as some releases have it; 95 would be a percentage.
_Crop = Annotated[float, Gt(0), Le(1.5)]
_Pixels = Annotated[int, Gt(0)]
_Size = tuple[Literal[3], _Pixels, _Pixels]
_Names = str | tuple[str, ...]
_Labels = tuple[str, ...] | dict[Annotated[int, Ge(0)], str]

# Of a pair, timm leaves out what is not set: then evaluation is as in training.
TESTED_LIKE_TRAINED = {"input_size": "test_input_size", "crop_pct": "test_crop_pct"}


class PretrainedFields(Configuration):
    """Timm's ``PretrainedCfg``; what the first ones state is followed, the last ones change no number."""

    architecture: str | None = None
    input_size: _Size | None = None
    test_input_size: _Size | None = None
    fixed_input_size: bool | None = None
    interpolation: InterpolationMode | None = None
    crop_pct: _Crop | None = None
    test_crop_pct: _Crop | None = None
    crop_mode: Literal["center", "squash", "border"] | None = None
    mean: tuple[_Mean, _Mean, _Mean] | None = None
    std: tuple[_Deviation, _Deviation, _Deviation] | None = None
    num_classes: Annotated[int, Ge(0)] | None = None
    label_offset: Literal[0] | None = None
    label_names: _Labels | None = None
    label_descriptions: dict[str, str] | None = None
    first_conv: _Names | None = None
    classifier: _Names | None = None
    # Of pooling over larger images, of training, and of where weights and papers are.
    pool_size: Any = None
    test_pool_size: Any = None
    min_input_size: Any = None
    custom_load: Any = None
    url: Any = None
    file: Any = None
    hf_hub_id: Any = None
    hf_hub_filename: Any = None
    source: Any = None
    tag: Any = None
    license: Any = None
    description: Any = None
    origin_url: Any = None
    paper_name: Any = None
    paper_ids: Any = None
    notes: Any = None


class ModelArguments(Configuration):
    """Arguments of building a model: those that are compared with what else is known, and any of the architecture's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    in_chans: Literal[3] | None = None
    num_classes: Annotated[int, Ge(0)] | None = None
    global_pool: str | None = None
    img_size: _Pixels | tuple[_Pixels, _Pixels] | None = None
    dynamic_img_size: bool | None = None
    strict_img_size: bool | None = None
    use_naflex: bool | None = None


class CheckpointFields(Configuration):
    """A ``config.json``; what stands at the top overrides ``pretrained_cfg``, as in timm."""

    pretrained_cfg: PretrainedFields
    architecture: str | None = None
    num_classes: Annotated[int, Ge(0)] | None = None
    global_pool: str | None = None
    label_names: _Labels | None = None
    label_descriptions: dict[str, str] | None = None
    model_args: ModelArguments = ModelArguments()
    # Written by timm and by transformers for readers, and read by neither.
    num_features: Any = None
    model_type: Any = None
    architectures: Any = None
    initializer_range: Any = None
    torch_dtype: Any = None
    dtype: Any = None
    transformers_version: Any = None


def read_json(path: Path, plain: str) -> CheckpointFields:
    """Read a ``config.json`` of either form: with a ``pretrained_cfg``, or flat, as older versions of timm wrote it.

    Args:
        path: of the file.
        plain: the architecture that was requested, without a tag.

    Raises:
        UserError: when it is not JSON, is not timm's, belongs to another architecture, or states what is not understood
            and could change answers, naming it.
    """
    content = read_strict_json(path)
    if not isinstance(content, dict) or not {"pretrained_cfg", "architecture"} & content.keys():
        raise UserError(
            f"{path} is not timm's: it names no architecture, and what it says of the weights beside it is unknown; "
            "move one of the two",
            exit_code=2,
        )
    if "pretrained_cfg" not in content:
        content = _from_flat(content)
    try:
        found = CheckpointFields.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise UserError(
            f"{path} states what is not understood and could change answers: {one_line(error)}", 2
        ) from None
    for stated in (found.architecture, found.pretrained_cfg.architecture):
        if stated not in (None, plain):
            raise UserError(f"{path} is of {stated}, but {plain} was requested", exit_code=2)
    return found


def apply_fields(configuration: PretrainedCfg, stated: CheckpointFields, path: Path) -> PretrainedCfg:
    """Replace the settings of a release, or of an architecture, by those that a ``config.json`` states.

    Raises:
        UserError: when it names other modules for the first layer or the head than the architecture has. Exit code 2.
    """
    own = stated.pretrained_cfg.model_dump(exclude_none=True)
    if "interpolation" in own:
        own["interpolation"] = own["interpolation"].value
    own |= stated.model_dump(include={"num_classes", "label_names", "label_descriptions"}, exclude_none=True)
    for key in ("first_conv", "classifier"):
        if key in own and _as_tuple(own[key]) != _as_tuple(getattr(configuration, key)):
            raise UserError(
                f"{path} states {key} {own[key]!r}, but timm's architecture has {getattr(configuration, key)!r}", 2
            )
    for trained, tested in TESTED_LIKE_TRAINED.items():
        if trained in own:
            own.setdefault(tested, None)
    known = {field.name for field in fields(PretrainedCfg)}
    changes: dict[str, Any] = {key: value for key, value in own.items() if key in known and key != "architecture"}
    return replace(configuration, **changes)


def _from_flat(content: dict[str, Any]) -> dict[str, Any]:
    top = {key: content[key] for key in content.keys() & CheckpointFields.model_fields.keys()}
    rest = {key: value for key, value in content.items() if key not in top}
    if "labels" in rest:
        top["label_names"] = rest.pop("labels")
    return {**top, "pretrained_cfg": rest}


def _as_tuple(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())
