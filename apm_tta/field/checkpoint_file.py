"""A field's checkpoint as a file: the one place that reads it, and tells damaged, foreign and missing files apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from apm_tta.apm import APM, APMConfig
from apm_tta.configuration import one_line, validated
from apm_tta.errors import UserError
from apm_tta.field.settings import Settings
from apm_tta.system.files import require_regular
from apm_tta.teachers.weight_names import first_few

Measures = dict[str, float]

_FORMAT, _VERSION = "apm_tta_field", "1"
_DIGEST = "sha256"
"""Of all that the file holds; checkpoints of earlier versions have none."""
_KEYS = {_FORMAT, "settings", "held_out", "epochs"}
_MEAN, _STD = "target.mean", "target.std"
_WEIGHTS, _MOMENTS = "apm.", "adam."
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_LONGEST = 120
"""Characters of a reason in a message."""
_RESTORE = "restore it from a copy, or move it away and train again with run-bench train-field"


@dataclass(frozen=True)
class CheckpointContent:
    """What a checkpoint holds, checked.

    Attributes:
        settings: of the training.
        config: sizes of the APM.
        held_out: ids of the validation images.
        epochs: a row per completed epoch.
        weights: of the APM, by its names.
        moments: of Adam, by the names of what was trained, each with ``MOMENTS``.
        mean: of the targets, ``(F,)``.
        std: of the targets, ``(F,)``, above 0.
    """

    settings: Settings
    config: APMConfig
    held_out: list[str]
    epochs: list[Measures]
    weights: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    mean: Tensor
    std: Tensor


def encode_checkpoint(content: CheckpointContent) -> bytes:
    """Encode a checkpoint as the content of its file."""
    tensors = {f"{_WEIGHTS}{name}": value for name, value in content.weights.items()}
    tensors |= {f"{_MOMENTS}{n}.{moment}": value for n, own in content.moments.items() for moment, value in own.items()}
    tensors |= {_MEAN: content.mean, _STD: content.std}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {
        _FORMAT: _VERSION,
        "settings": content.settings.model_dump_json(),
        "held_out": json.dumps(content.held_out),
        "epochs": json.dumps(content.epochs),
    }
    encoded: bytes = safetensors.torch.save(plain, {**metadata, _DIGEST: _digest(metadata, plain)})
    return encoded


def is_checkpoint(path: Path) -> bool:
    """Return whether a file says that it is a checkpoint of ``run-bench train-field``."""
    try:
        require_regular(path)
        with safe_open(path, "pt") as file:
            return _FORMAT in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_settings(path: Path) -> Settings:
    """Read the settings of a checkpoint, and none of its tensors.

    Raises:
        UserError: when it is missing, damaged, or no checkpoint.
    """
    with _one_line_errors(path), safe_open(path, "pt") as file:
        return _settings(path, file.metadata() or {})


def read_checkpoint(path: Path) -> CheckpointContent:
    """Read a checkpoint whole.

    Raises:
        UserError: when it is missing, damaged, or no checkpoint; naming what is wrong and what brings it back.
    """
    with _one_line_errors(path), safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        settings = _settings(path, metadata)
        held_out = TypeAdapter(list[str]).validate_json(metadata["held_out"], strict=True)
        epochs = TypeAdapter(list[Measures]).validate_json(metadata["epochs"], strict=True)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        content = CheckpointContent(
            settings,
            validated(APMConfig, settings.sizes),
            held_out,
            epochs,
            _with_prefix(tensors, _WEIGHTS),
            _moments(_with_prefix(tensors, _MOMENTS)),
            tensors[_MEAN],
            tensors[_STD],
        )
    _refuse_unusable(path, content)
    if (recorded := metadata.get(_DIGEST)) is None and not metadata.keys() <= _KEYS:
        raise _damaged(path, "its header has other entries than were written")
    if recorded is not None and recorded != _digest({key: metadata[key] for key in _KEYS}, tensors):
        raise _damaged(path, "its content is not what was written")
    return content


def _refuse_unusable(path: Path, content: CheckpointContent) -> None:
    """Refuse tensors that no training has left behind."""
    if unknown := content.settings.sizes.keys() - {field.name for field in fields(APMConfig)}:
        raise _damaged(path, f"its header: sizes has {first_few(sorted(unknown))}")
    _refuse_other_sizes(path, content.config, content.weights)
    own = APM(content.config).state_dict()
    expected = {f"{_WEIGHTS}{name}": value.shape for name, value in own.items()}
    expected |= dict.fromkeys((_MEAN, _STD), torch.Size([content.config.feature_dim]))
    found = {f"{_WEIGHTS}{name}": value for name, value in content.weights.items()}
    found |= {_MEAN: content.mean, _STD: content.std}
    for name, moments in content.moments.items():
        shape = expected.get(f"{_WEIGHTS}{name}", torch.Size())
        for moment in MOMENTS:
            expected[f"{_MOMENTS}{name}.{moment}"] = torch.Size() if moment == "step" else shape
        found |= {f"{_MOMENTS}{name}.{moment}": value for moment, value in moments.items()}
    faults = {
        "missing": expected.keys() - found.keys(),
        "of no place in it": found.keys() - expected.keys(),
        "of another shape": {name for name in found if name in expected and found[name].shape != expected[name]},
        "not of float32": {name for name, value in found.items() if value.dtype != torch.float32},
    }
    for fault, names in faults.items():
        if names:
            raise _damaged(path, f"{first_few(sorted(names))} {'is' if len(names) == 1 else 'are'} {fault}")
    if unfinite := [name for name, value in found.items() if not bool(value.isfinite().all())]:
        raise _damaged(path, f"{first_few(unfinite)} {'is' if len(unfinite) == 1 else 'are'} not finite")
    if not bool((content.std > 0).all()):
        raise _damaged(path, f"{_STD} is not above 0 everywhere")
    for name, moments in content.moments.items():
        if bool((moments["exp_avg_sq"] < 0).any()) or float(moments["step"]) < 1:
            raise _damaged(path, f"{_MOMENTS}{name} is not what Adam leaves behind")
    if not 1 <= content.settings.width <= content.config.feature_dim:
        raise _damaged(path, f"its width is {content.settings.width}, that of its APM {content.config.feature_dim}")
    if [row.get("epoch") for row in content.epochs] != list(range(1, len(content.epochs) + 1)):
        raise _damaged(path, "its epochs are not counted from 1")
    if len({frozenset(row) for row in content.epochs}) > 1:
        raise _damaged(path, "its epochs have different measures")


def _refuse_other_sizes(path: Path, config: APMConfig, weights: Mapping[str, Tensor]) -> None:
    """Refuse sizes that the weights do not have, before memory is taken for an APM of these sizes."""
    stated = {
        **{f"mlp.{index}.weight": (width, None) for index, width in enumerate(config.hidden)},
        "mlp.0.weight": (config.hidden[0], config.column_dim + config.position_dim),
        "feature_head.weight": (config.feature_dim, config.hidden[-1]),
        "rgb_head.0.weight": (config.rgb_hidden, None),
    }
    for name, shape in stated.items():
        found = tuple(weights[name].shape) if name in weights else ()
        if len(found) != 2 or any(size not in (None, own) for size, own in zip(shape, found, strict=True)):
            raise _damaged(path, f"{_WEIGHTS}{name} is {'of another shape' if found else 'missing'}")


def _settings(path: Path, metadata: Mapping[str, str]) -> Settings:
    if _FORMAT not in metadata:
        raise UserError(f"{path} is not a checkpoint of run-bench train-field; name another file, or another --out")
    if metadata[_FORMAT] != _VERSION:
        raise UserError(
            f"{path} is a checkpoint of format {metadata[_FORMAT][:9]!r}, this version of apm-tta reads {_VERSION}; "
            "use the version that wrote it"
        )
    return Settings.model_validate_json(metadata["settings"])


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Turn whatever reading a checkpoint raises into one line: missing, unreadable or damaged."""
    try:
        require_regular(path)
        yield
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}; run-bench train-field writes one") from None
    except ValidationError as error:
        raise _damaged(path, f"its header: {one_line(error)}") from None
    except KeyError as error:
        raise _damaged(path, f"{error.args[0]} is missing") from None
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, " ".join(str(error).split())) from None


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"checkpoint {path} is damaged ({reason[:_LONGEST]}); {_RESTORE}")


def _moments(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    moments: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter, _, moment = name.rpartition(".")
        moments.setdefault(parameter, {})[moment] = value
    return moments


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
