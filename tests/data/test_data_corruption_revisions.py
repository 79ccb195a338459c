"""A corruption whose pixels change gets a new revision: results before and after are on different images.

The committed numbers are written by ``python tests/data/test_data_corruption_revisions.py --write``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from apm_tta.data.cards import load_card
from apm_tta.data.corruptions import CORRUPTIONS, REVISIONS, Family, corrupt, corruption_revisions
from apm_tta.errors import UnknownName

COMMITTED = Path(__file__).with_name("corruption_digests.json")
COMMAND = "python tests/data/test_data_corruption_revisions.py --write"
PARAMETERS = ("imagenet", "cifar")
DEFINED = [
    (name, parameters)
    for name in CORRUPTIONS.names()
    for parameters in PARAMETERS
    if getattr(CORRUPTIONS.get(name), parameters)
]
"""Corruptions with the sets of parameters that their authors chose."""
SIDE = 96
SEVERITY = 3
# How far a mean moves if a thousandth of the pixels change by one grey level: rounding on another CPU changes far
# fewer.
TOLERANCE = 1e-3

Digests = dict[str, dict[str, dict[str, Any]]]


def picture(side: int = SIDE) -> np.ndarray:
    """Return slopes, edges and fine texture in three unlike channels, ``(side, side, 3)``, by integers alone."""
    row, column = np.mgrid[:side, :side]
    red = (row * 200) // side + (column % 7) * 5
    green = 40 + (column * 180) // side + ((row // 4 + column // 4) % 2) * 30
    blue = ((row * row + 3 * column * column) * 190) // (4 * side * side) + ((row * 13 + column * 29) % 31)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def numbers_of(pixels: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation of each channel, and the means of the pixels under 8 fixed random signs."""
    values = pixels.astype(np.float64)
    signs = np.random.default_rng(20_190_328).choice((-1.0, 1.0), size=(8, *values.shape))
    numbers = {
        "mean": values.mean((0, 1)),
        "deviation": values.std((0, 1)),
        "projections": (signs * values).mean((1, 2, 3)),
    }
    return {name: [round(float(value), 5) for value in found] for name, found in numbers.items()}


def digests_now() -> Digests:
    """Corrupt one image per corruption and set of parameters."""
    return {
        name: {
            parameters: {
                "revision": REVISIONS[CORRUPTIONS.get(name).family],
                **numbers_of(
                    corrupt(picture(), name, SEVERITY, rng=np.random.default_rng(7), parameters=parameters)  # type: ignore[arg-type]
                ),
            }
            for parameters in PARAMETERS
            if (name, parameters) in DEFINED
        }
        for name in CORRUPTIONS.names()
    }


def same_numbers(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> bool:
    keys = ("mean", "deviation", "projections")
    return all(np.allclose(one[key], other[key], rtol=0, atol=TOLERANCE) for key in keys)


def changed_under_one_revision(committed: Digests, now: Digests) -> list[str]:
    """Name the corruptions whose pixels changed while their family's revision did not."""
    return [
        f"{name} ({parameters}): its pixels changed; raise REVISIONS[{CORRUPTIONS.get(name).family!r}], then {COMMAND}"
        for name, found in now.items()
        for parameters, current in found.items()
        if (before := committed.get(name, {}).get(parameters)) is not None
        if before["revision"] == current["revision"] and not same_numbers(before, current)
    ]


def out_of_date_entries(committed: Digests, now: Digests) -> list[str]:
    """Name what the committed file lacks, has with another revision, or has without reason."""
    pairs = {(name, parameters) for digests in (committed, now) for name in digests for parameters in digests[name]}
    revisions = {
        pair: [digests.get(pair[0], {}).get(pair[1], {}).get("revision") for digests in (committed, now)]
        for pair in pairs
    }
    return [
        f"{name} ({parameters}): {COMMITTED.name} has revision {before}, the code has {current}; run {COMMAND}"
        for (name, parameters), (before, current) in sorted(revisions.items())
        if before != current
    ]


@pytest.fixture(scope="module")
def committed() -> Digests:
    return json.loads(COMMITTED.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def now() -> Digests:
    return digests_now()


def test_pixels_change_only_with_their_revision(committed: Digests, now: Digests) -> None:
    problems = changed_under_one_revision(committed, now)
    assert not problems, "\n".join(problems)


def test_the_committed_numbers_have_the_revisions_of_the_code(committed: Digests, now: Digests) -> None:
    problems = out_of_date_entries(committed, now)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(("name", "parameters"), DEFINED)
def test_a_visible_change_is_detected(name: str, parameters: str) -> None:
    """One level more for a hundredth of the pixels; and the same pixels at other positions."""
    made = corrupt(picture(), name, SEVERITY, rng=np.random.default_rng(7), parameters=parameters)  # type: ignore[call-overload]
    moved = made.reshape(-1, 3).copy()
    moved[::100] = np.where(moved[::100] < 255, moved[::100] + 1, 254)
    assert not same_numbers(numbers_of(made), numbers_of(moved.reshape(made.shape)))
    assert not same_numbers(numbers_of(made), numbers_of(np.roll(made, 1, axis=1)))
    assert same_numbers(numbers_of(made), numbers_of(made.copy()))


def test_a_change_is_refused_unless_the_revision_is_raised_and_the_file_rewritten(now: Digests) -> None:
    pixels_changed = deepcopy(now)
    pixels_changed["fog"]["cifar"]["mean"][1] += 0.01
    assert len(changed_under_one_revision(now, pixels_changed)) == 1
    assert "fog (cifar)" in changed_under_one_revision(now, pixels_changed)[0]
    assert "REVISIONS['weather']" in changed_under_one_revision(now, pixels_changed)[0]
    raised = deepcopy(pixels_changed)
    raised["fog"]["cifar"]["revision"] += 1
    assert changed_under_one_revision(now, raised) == []
    assert COMMAND in out_of_date_entries(now, raised)[0]
    assert out_of_date_entries(raised, raised) == changed_under_one_revision(raised, raised) == []


def test_added_and_removed_corruptions_need_a_new_file(now: Digests) -> None:
    fewer = {name: found for name, found in now.items() if name != "fog"}
    assert len(out_of_date_entries(fewer, now)) == len(out_of_date_entries(now, fewer)) == len(PARAMETERS)


def test_families_are_those_of_the_authors() -> None:
    """15 corruptions form four groups (arXiv 1903.12261, figure 1), each with one of the four extra corruptions.

    ImageNet-C-bar's are a group of their own.
    """
    families = {
        family: {name for name in CORRUPTIONS.names() if CORRUPTIONS.get(name).family == family} for family in REVISIONS
    }
    assert families == {
        "noise": {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"},
        "blur": {"defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"},
        "weather": {"snow", "frost", "fog", "brightness", "spatter"},
        "digital": {"contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"},
        "c-bar": {*load_card("imagenet-c-bar").stored_corruptions},
    }
    assert tuple(REVISIONS) == get_args(Family)
    assert all(type(revision) is int and revision >= 1 for revision in REVISIONS.values())


def test_revisions_are_those_of_the_families_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REVISIONS, "blur", 7)
    assert corruption_revisions([]) == corruption_revisions(["clean"]) == {}
    assert corruption_revisions(["spatter", "zoom_blur", "clean", "glass_blur"]) == {"blur": 7, "weather": 1}
    assert corruption_revisions(CORRUPTIONS.names()) == REVISIONS
    with pytest.raises(UnknownName, match="unknown corruption 'fgo'"):
        corruption_revisions(["fog", "fgo"])


def write() -> None:
    """Write the committed file, unless pixels changed under an unchanged revision."""
    found = digests_now()
    before = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.is_file() else {}
    if problems := changed_under_one_revision(before, found):
        raise SystemExit("\n".join(problems))
    lines = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"    {json.dumps(parameters)}: {json.dumps(numbers)}" for parameters, numbers in each.items())
        + "\n  }"
        for name, each in found.items()
    ]
    COMMITTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="Rewrite corruption_digests.json.")
    parser.parse_args()
    write()
