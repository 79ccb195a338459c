"""What a training depends on: recorded in its checkpoint, and the same when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from apm_tta.apm import APMConfig
from apm_tta.configuration import Configuration

_SHARE = 8  # one location of so many is asked a step
_PUBLISHED_RATE, _SMALL_RATE = 1e-4, 3e-3  # public code's; this suite's, for the embedded teacher


class Schedule(Configuration):
    """How a field is trained; all of it is the user's to choose.

    Attributes:
        layer: of the teacher, whose tokens are the target; counts from 0.
        learning_rate: of Adam at its largest: it rises over the first 2 % of the steps and falls to 0 as half a cosine.
        locations: asked a step, drawn anew for each: those of one image teach much the same.
        epochs: passes over all views of all training images.
        batch_size: views a step.
        rgb_weight: of the colours' mean squared error, beside the grid's, which is divided by the targets' variance.
        views: of every training image: the image itself, then random crops of 0.7 to 1 of its area, flipped at random.
        limit: training images, those whose ids have the lowest SHA-256; 0 for all. Those held out stay the same.
        precision: of the products of the training; validation is in float32.
        seed: of the first weights, the order, the locations and the views.
    """

    layer: Annotated[int, Ge(0)]
    learning_rate: Annotated[float, Gt(0)]
    locations: Annotated[int, Ge(1)]
    epochs: Annotated[int, Ge(1)] = 64
    batch_size: Annotated[int, Ge(1)] = 128
    rgb_weight: Annotated[float, Ge(0)] = 0.1
    views: Annotated[int, Ge(1)] = 8
    limit: Annotated[int, Ge(0)] = 0
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    seed: Annotated[int, Ge(0)] = 0


def schedule_for(config: APMConfig, layer: int, asked: Mapping[str, Any]) -> Schedule:
    """What was asked for, and for the rest what suits an APM of these sizes.

    Args:
        config: of the APM.
        layer: counted from 0.
        asked: fields of ``Schedule``; ``locations`` 0 is all of them, none at all an eighth.
    """
    everywhere = config.grid**2
    locations = asked.get("locations", max(1, everywhere // _SHARE))
    rate = _SMALL_RATE if config.hidden[0] < APMConfig().hidden[0] else _PUBLISHED_RATE
    chosen = {"learning_rate": rate, **asked, "layer": layer, "locations": min(locations or everywhere, everywhere)}
    return Schedule(**chosen)


class Settings(Configuration):
    """Everything that the weights of a field depend on but the versions of libraries and the machine.

    Attributes:
        schedule: see there; its layer counts from 0.
        teacher: its name.
        teacher_identity: see ``Teacher.identity``.
        images_sha256: of the ids of all images and of the validation images' pixels.
        training_images: how many.
        validation_images: how many; they are never trained on.
        width: of the teacher's tokens; the APM's features end in zeros where it is no multiple of 8.
        teacher_grid: side of the teacher's grid; interpolated where the APM's is another.
        sizes: of the APM.
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

    @property
    def config(self) -> APMConfig:
        """``sizes`` as what they are."""
        return APMConfig(**{**self.sizes, "hidden": tuple(self.sizes["hidden"])})

    def differences(self, other: Settings) -> list[str]:
        """Fields in which two differ, with both values, own first."""
        ours, theirs = (_flat(one.model_dump(mode="json")) for one in (self, other))
        keys = dict.fromkeys([*ours, *theirs])
        return [
            f"{key}: {ours.get(key)} there, {theirs.get(key)} now" for key in keys if ours.get(key) != theirs.get(key)
        ]


def sizes_of(config: APMConfig) -> dict[str, Any]:
    """An APM's sizes as JSON has them."""
    return {**asdict(config), "hidden": list(config.hidden)}


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value})
    return flat
