"""What an ``open_clip_config.json``, or one of open_clip's tags, states of a model and its images."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg
from pydantic import ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.errors import UserError
from apm_tta.teachers.preprocessing import Preprocessing

FILE = "open_clip_config.json"

_log = logging.getLogger(__name__)

_Pixels = Annotated[int, Gt(0)]
# Of values in 0 .. 1: a mean of 123.7 would be one of bytes.
_Mean = Annotated[float, Ge(0), Le(1)]
_Deviation = Annotated[float, Gt(0), Le(1)]
# Of training, or of where weights come from; the activation is compared by itself.
_WITHOUT_INFLUENCE = {
    *("quick_gelu", "custom_text", "output_dict", "init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"),
    *("vision_cfg.patch_dropout", "vision_cfg.timm_drop", "vision_cfg.timm_drop_path"),
    *("vision_cfg.timm_model_pretrained", "text_cfg.hf_model_pretrained"),
}


class PreprocessFields(Configuration):
    """Open_clip's ``PreprocessCfg``, with the defaults of that."""

    size: _Pixels | tuple[_Pixels, _Pixels] | tuple[_Pixels] | None = None
    mode: Literal["RGB"] = "RGB"
    mean: tuple[_Mean, _Mean, _Mean] | _Mean = PreprocessCfg.mean
    std: tuple[_Deviation, _Deviation, _Deviation] | _Deviation = PreprocessCfg.std
    # Random is the choice of training; open_clip evaluates with bicubic then.
    interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: Annotated[int, Ge(0), Le(255)] = 0


def split_configuration(owner: str, content: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Split an ``open_clip_config.json`` into the configurations of the model and of the transform.

    Raises:
        UserError: when it has no complete ``model_cfg``, or states what is not understood, naming it.
    """
    model = content.get("model_cfg") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not {"vision_cfg", "text_cfg"} <= model.keys():
        raise UserError(f"{owner} has no model_cfg in its {FILE}; it is not an open_clip model")
    if unknown := sorted(content.keys() - {"model_cfg", "preprocess_cfg"}):
        raise UserError(
            f"{owner} states {unknown[0]} in its {FILE}, which is not understood and could change answers", 2
        )
    preprocess = content.get("preprocess_cfg") or {}
    if not isinstance(preprocess, dict):
        raise UserError(f"{owner} states a preprocess_cfg in its {FILE} that is no mapping", exit_code=2)
    return model, preprocess


def resolve_preprocessing(
    name: str, stated: Mapping[str, Any], model: Mapping[str, Any]
) -> tuple[PreprocessCfg, Preprocessing]:
    """Resolve how images are prepared, as ``open_clip.create_model`` does: at the size that the model takes.

    Args:
        name: the teacher's.
        stated: a ``preprocess_cfg``.
        model: a ``model_cfg``.

    Raises:
        UserError: when it states what is not understood, naming it, or when images are not square. Exit code 2.
    """
    given = {key: value for key, value in stated.items() if value is not None}
    try:
        fields = PreprocessFields.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise UserError(f"preprocess_cfg of teacher {name} is not understood: {one_line(error)}", exit_code=2) from None
    size: int | list[int] = model["vision_cfg"].get("image_size", CLIPVisionCfg.image_size)
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    if height != width:
        raise UserError(
            f"teacher {name} takes images of {height} x {width} pixels; only square images are supported", exit_code=2
        )
    if fields.size is not None and {*_as_tuple(fields.size)} != {height}:
        _log.warning(
            "preprocess_cfg of teacher %s states images of %s pixels, but its model takes %d: as in open_clip, that is "
            "what it gets",
            *(name, " x ".join(map(str, _as_tuple(fields.size))), height),
        )
    interpolation = "bilinear" if fields.interpolation == "bilinear" else "bicubic"
    mean, std = (_of_three_channels(value) for value in (fields.mean, fields.std))
    configuration = PreprocessCfg(size, "RGB", mean, std, interpolation, fields.resize_mode, fields.fill_color)
    return configuration, Preprocessing(height, mean, std, interpolation)


def refuse_another_model(owner: str, kind: str, own: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Refuse a file whose configuration is not that of the architecture it is to be loaded into.

    Some differences, such as the number of heads or the pooling, change no tensor's shape.

    Args:
        owner: of the configuration, for messages.
        kind: name of the architecture.
        own: the file's ``model_cfg``.
        model: the architecture's.

    Raises:
        UserError: naming what differs. Exit code 2.
    """
    try:
        stated, expected = _expanded(own), _expanded(model)
    except TypeError as error:
        raise UserError(f"{owner} states what is not understood in its {FILE}: {error}", exit_code=2) from None
    differing = [
        f"{key} {stated.get(key)!r}, not {expected.get(key)!r}"
        for key in sorted(stated.keys() | expected.keys())
        if key not in _WITHOUT_INFLUENCE and stated.get(key) != expected.get(key)
    ]
    if differing:
        raise UserError(f"{owner} is not a {kind}: its {FILE} states {'; '.join(differing[:3])}", exit_code=2)


def _expanded(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``model_cfg`` with all defaults, by dotted names."""
    towers = {"vision_cfg": CLIPVisionCfg(**model["vision_cfg"]), "text_cfg": CLIPTextCfg(**model["text_cfg"])}
    found = {key: value for key, value in model.items() if key not in towers and value is not None}
    for tower, settings in towers.items():
        found |= {f"{tower}.{key}": _plain(value) for key, value in asdict(settings).items()}
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _as_tuple(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else size


def _of_three_channels(value: tuple[float, float, float] | float) -> tuple[float, float, float]:
    return value if isinstance(value, tuple) else (value, value, value)
