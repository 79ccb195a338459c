"""What is known of a timm checkpoint before it is read: how it is built, and how its images are prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from timm.data import resolve_data_config
from timm.models import PretrainedCfg

from apm_tta.errors import UnknownName, UserError
from apm_tta.system.files import is_file
from apm_tta.teachers.timm_json import FILE, TESTED_LIKE_TRAINED, apply_fields, read_json
from apm_tta.wording import first_few

# What determines the pixels that a model gets.
_PIXELS = (
    *("input_size", "test_input_size", "fixed_input_size", "interpolation", "crop_pct", "test_crop_pct"),
    *("crop_mode", "mean", "std"),
)
# Arguments with which timm would build something other than the network with these weights.
_NOT_OF_THE_NETWORK = (
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("features_only", "scriptable", "exportable", "no_jit", "device", "dtype"),
)


@dataclass(frozen=True)
class TimmRelease:
    """A checkpoint's settings.

    Attributes:
        kind: architecture, with or without a tag.
        configuration: timm's: preprocessing, classes, names of the head's modules.
        arguments: of building the model, beyond the architecture's own.
        global_pool: pooling that the model must have; None where nothing states it.
    """

    kind: str
    configuration: PretrainedCfg
    arguments: Mapping[str, Any] = field(default_factory=dict)
    global_pool: str | None = None


def find_release(name: str, kind: str, path: str) -> TimmRelease:
    """Find the settings of a checkpoint.

    They are those of the tag; for a file those of the ``config.json`` beside it, where that states them; for a file
    without a tag those that all releases of the architecture share.

    Args:
        name: the teacher's.
        kind: architecture, with or without a tag.
        path: of a file; empty for a release.

    Raises:
        UnknownName: when timm has no weights of that tag. Exit code 2.
        UserError: when there is no such file, its ``config.json`` is not usable, or releases differ. Exit code 2, but 1
            for a ``config.json`` that is not JSON.
    """
    plain, _, tag = kind.partition(".")
    tags = [release.partition(".")[2] for release in timm.list_pretrained(f"{plain}.*")]
    try:
        configuration = timm.get_pretrained_cfg(kind, allow_unregistered=True)
    except RuntimeError:
        configuration = None
    if configuration is None:
        raise UnknownName(f"weights of timm's {plain}", tag, tags)
    if not path:
        return TimmRelease(kind, configuration)
    if not is_file(Path(path)):
        raise UserError(f"teacher {name}: there is no file {path}", exit_code=2)
    beside = Path(path).with_name(FILE)
    release, stated = TimmRelease(kind, configuration), set[str]()
    if os.path.lexists(beside):  # a broken link too: what it said is unknown
        release, stated = _stated_release(kind, configuration, beside)
    releases = [timm.get_pretrained_cfg(f"{plain}.{each}") for each in tags]
    unstated = [key for key in _PIXELS if key not in stated]
    if not tag and any(getattr(each, key) != getattr(configuration, key) for each in releases for key in unstated):
        raise UserError(
            f"the releases of timm's {plain} are not preprocessed alike: name the one that {path} follows, such as "
            f"timm:{plain}.{tags[0]}:{path}; there are: {first_few(tags)}",
            exit_code=2,
        )
    return release


def evaluation_settings(name: str, configuration: PretrainedCfg) -> dict[str, Any]:
    """Resolve how images are prepared: as timm's own ``validate.py`` does for the results that timm publishes.

    These are at a release's test size and test crop where it states them, which for 307 releases are not those of
    training; a model with a fixed input size keeps its own.

    Returns:
        Timm's settings of a transform; where training was at another size or crop, these too, under ``trained_at``.

    Raises:
        UserError: when the images are not square, or not of three channels. Exit code 2.
    """
    stated = configuration.to_dict()
    fixed = {"input_size": tuple(configuration.input_size)} if configuration.fixed_input_size else {}
    settings: dict[str, Any] = resolve_data_config(fixed, pretrained_cfg=stated, use_test_size=True)
    trained = resolve_data_config({}, pretrained_cfg=stated)
    channels, height, width = settings["input_size"]
    if channels != 3:
        raise UserError(f"teacher {name} takes images of {channels} channels; only RGB images are supported", 2)
    if height != width:
        raise UserError(
            f"teacher {name} takes images of {height} x {width} pixels; only square images are supported", 2
        )
    changed = {key: trained[key] for key in settings if trained[key] != settings[key]}
    return settings | ({"trained_at": changed} if changed else {})


def _stated_release(kind: str, configuration: PretrainedCfg, beside: Path) -> tuple[TimmRelease, set[str]]:
    """Return a release with what a ``config.json`` states, and which settings of pixels it states.

    Raises:
        UserError: see ``read_json``; when it states arguments that are not those of a network on RGB images.
    """
    fields = read_json(beside, kind.partition(".")[0])
    found = apply_fields(configuration, fields, beside)
    own, arguments = fields.model_args, fields.model_args.model_dump(exclude_none=True)
    for key in arguments.keys() & {*_NOT_OF_THE_NETWORK}:
        raise UserError(f"{beside} states model_args.{key}, which is no argument of a network", exit_code=2)
    if own.num_classes not in (None, found.num_classes):
        expected = found.num_classes
        raise UserError(f"{beside} states model_args.num_classes {own.num_classes}; it would have to be {expected}", 2)
    arguments.pop("global_pool", None)
    pools = {fields.global_pool, own.global_pool} - {None}
    if len(pools) > 1:
        raise UserError(f"{beside} states global_pool {' and '.join(sorted(map(repr, pools)))}; it is one of them", 2)
    # As timm does: such a model takes any size; one of a fixed size is built for the size that its arguments state.
    if own.dynamic_img_size or own.strict_img_size is False or own.use_naflex:
        found.fixed_input_size = False
    if found.fixed_input_size and own.img_size is not None:
        found.input_size = (3, *((own.img_size,) * 2 if isinstance(own.img_size, int) else own.img_size))
    stated = fields.pretrained_cfg.model_dump(exclude_none=True)
    implied = {tested for trained, tested in TESTED_LIKE_TRAINED.items() if trained in stated}
    return TimmRelease(kind, found, arguments, next(iter(pools), None)), {*stated, *implied}
