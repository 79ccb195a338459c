"""What a training depends on: recorded in its checkpoint, and unchanged when it resumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from apm_tta.apm import APMConfig
from apm_tta.configuration import Configuration
from apm_tta.data.decoding import PUBLISHED, Reading

_SHARE = 8  # one location in that many is queried per step
_PUBLISHED_RATE, _SMALL_RATE = 1e-4, 3e-3  # the public code's; this suite's, for the embedded teacher


class Schedule(Configuration):
    """How a field is trained; every value is the user's choice.

    Attributes:
        layer: layer of the teacher whose tokens are the target; counts from 0.
        learning_rate: peak learning rate of Adam: it rises over the first 2 % of the steps and falls to 0 as half a
            cosine.
        locations: number queried per step, drawn anew for each: the locations of one image teach much the same.
        precision: data type of the products in training, as chosen or measured; validation is in float32.
        epochs: passes over all views of all training images.
        batch_size: views per step.
        rgb_weight: weight of the colours' mean squared error relative to the grid's, which is divided by the targets'
            variance.
        views: views of every training image: the image itself, then random crops of 0.7 to 1 of its area, flipped at
            random.
        limit: number of training images, those whose ids have the lowest SHA-256; 0 for all. The held-out images stay
            the same.
        seed: seed of the initial weights, the order, the locations and the views.
        fine: tokens of the teacher per side for each of its grid's. Above 1, locations are drawn anywhere, the targets
            there are tokens at a smaller stride and colours of squares that are smaller likewise, and the APM's token
            is trained to the teacher's embedding.
    """

    layer: Annotated[int, Ge(0)]
    learning_rate: Annotated[float, Gt(0)]
    locations: Annotated[int, Ge(1)]
    precision: Literal["float32", "bfloat16"]
    epochs: Annotated[int, Ge(1)] = 64
    batch_size: Annotated[int, Ge(1)] = 128
    rgb_weight: Annotated[float, Ge(0)] = 0.1
    views: Annotated[int, Ge(1)] = 8
    limit: Annotated[int, Ge(0)] = 0
    seed: Annotated[int, Ge(0)] = 0
    fine: Annotated[int, Ge(1)] = 1


def schedule_for(config: APMConfig, layer: int, chosen: Mapping[str, Any]) -> Schedule:
    """Return the chosen schedule, completed by what suits an APM of these sizes.

    Args:
        config: sizes of the APM.
        layer: counted from 0.
        chosen: fields of ``Schedule``, ``precision`` among them; ``locations`` 0 means all of them, and none chosen
            an eighth.
    """
    everywhere = config.grid**2
    locations = chosen.get("locations", max(1, everywhere // _SHARE))
    rate = _SMALL_RATE if config.hidden[0] < APMConfig().hidden[0] else _PUBLISHED_RATE
    complete = {"learning_rate": rate, **chosen, "layer": layer, "locations": min(locations or everywhere, everywhere)}
    return Schedule(**complete)


class Settings(Configuration):
    """Everything that the weights of a field depend on, except for the versions of libraries and the machine.

    Attributes:
        schedule: see ``Schedule``; its layer counts from 0.
        teacher: name of the teacher.
        teacher_identity: see ``Teacher.identity``.
        images_sha256: SHA-256 of the ids of all images and of the validation images' pixels.
        reading: by whose rules files became RGB; see ``apm_tta.data.decoding``.
        training_images: number of training images.
        validation_images: number of validation images, on which the field is never trained.
        width: width of the teacher's tokens; the APM's features end in zeros where it is not a multiple of 8.
        teacher_grid: side of the teacher's grid; interpolated where the APM's differs.
        sizes: sizes of the APM.
    """

    schedule: Schedule
    teacher: str
    teacher_identity: dict[str, str]
    images_sha256: str
    training_images: int
    validation_images: int
    width: int
    teacher_grid: int
    sizes: dict[str, Any]
    reading: Reading = PUBLISHED  # as every file was read before this was stated

    @property
    def config(self) -> APMConfig:
        """``sizes`` as an ``APMConfig``."""
        return APMConfig(**{**self.sizes, "hidden": tuple(self.sizes["hidden"])})

    def differences(self, other: Settings) -> list[str]:
        """List the fields that differ, with both values, own first."""
        ours, theirs = (_flatten(one.model_dump(mode="json")) for one in (self, other))
        keys = dict.fromkeys([*ours, *theirs])
        return [
            f"{key}: {ours.get(key)} there, {theirs.get(key)} now" for key in keys if ours.get(key) != theirs.get(key)
        ]


def sizes_of(config: APMConfig) -> dict[str, Any]:
    """Return an APM's sizes as JSON values."""
    return {**asdict(config), "hidden": list(config.hidden)}


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat
