"""What a training depends on: recorded in its checkpoint, and the same when it goes on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from apm_tta.apm import APMConfig
from apm_tta.configuration import Configuration


class Schedule(Configuration):
    """How a field is trained; all of it is the user's to choose.

    Attributes:
        layer: of the teacher, whose tokens are the target; counts from 0, or from the end.
        epochs: passes over all views of all training images.
        batch_size: views a step.
        learning_rate: of Adam at its largest: it rises over the first 2 % of the steps and falls to 0 as half a cosine.
        rgb_weight: of the colours' mean squared error, beside the grid's, which is divided by the targets' variance.
        locations: asked a step, drawn anew for each; 0 for all. Locations of one image teach much the same.
        views: of every training image: the image itself, then random crops of 0.7 to 1 of its area, flipped at random.
        limit: training images, those whose ids have the lowest SHA-256; 0 for all. Those held out stay the same.
        precision: of the products of the training; validation is in float32.
        seed: of the first weights, the order, the locations and the views.
    """

    layer: int = -1
    epochs: Annotated[int, Ge(1)] = 64
    batch_size: Annotated[int, Ge(1)] = 128
    learning_rate: Annotated[float, Gt(0)] = 3e-3
    rgb_weight: Annotated[float, Ge(0)] = 0.1
    locations: Annotated[int, Ge(0)] = 8
    views: Annotated[int, Ge(1)] = 8
    limit: Annotated[int, Ge(0)] = 0
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    seed: Annotated[int, Ge(0)] = 0


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
