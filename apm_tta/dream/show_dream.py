"""``run-bench dream``: a field taken offline walks through its memory, and every state is drawn and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from apm_tta.dream.decoding import Decoded, decode
from apm_tta.dream.judge import Judge, encoded_pictures
from apm_tta.dream.langevin import langevin, tuned_step
from apm_tta.dream.memory import Kind, Memory
from apm_tta.dream.one_thread import one_thread
from apm_tta.dream.path import shortest_paths
from apm_tta.dream.sheet import as_png, contact_sheet, strips
from apm_tta.dream.towards import Towards
from apm_tta.field.checkpoint import Field
from apm_tta.islands.animation import Format, encode_animation
from apm_tta.islands.colours import Floats, joint_colours
from apm_tta.islands.gallery import DIGITS
from apm_tta.islands.number_tables import Value, as_csv, as_table
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.strip import Column, draw_strip
from apm_tta.randomness import torch_generator
from apm_tta.wording import pluralise

_SHOWN = 11  # states of the first dream that are drawn large
_FRAME_MS = 200
_COMPARED = 1000


@dataclass(frozen=True)
class Night:
    """A request for dreams.

    Attributes:
        memory: what is walked through.
        kind: of the memory.
        walk: ``langevin`` or ``path``.
        dreams: how many walks.
        steps: of each.
        every: steps between two states that are drawn.
        seed: of every random draw.
        towards: a text that draws; None for none.
    """

    memory: Memory
    kind: Kind
    walk: str
    dreams: int
    steps: int
    every: int
    seed: int
    towards: Towards | None = None

    def generator(self, purpose: str) -> torch.Generator:
        """Return the generator of one purpose."""
        return torch_generator(self.seed, self.kind, f"dream: {purpose}")


@dataclass(frozen=True)
class Walked:
    """States of all walks.

    Attributes:
        points: ``(T + 1, B, d)``.
        energies: under the memory alone, ``(T + 1, B)``.
        text: what is to be said of the walks.
    """

    points: Tensor
    energies: Tensor
    text: str


def walk(night: Night) -> Walked:
    """Sample a start for every dream, and walk."""
    memory = night.memory
    with one_thread():
        start = memory.sample(night.dreams, night.generator("start"))
        if night.walk == "path":
            return _along_paths(night, start)
        energy = night.towards.added_to(memory.energy, memory.basis) if night.towards else memory.energy
        pilot = memory.sample(night.dreams, night.generator("start of the pilot"))
        step, _ = tuned_step(energy, pilot, night.generator("pilot"))
        walked = langevin(energy, start, night.steps, step, night.generator("walk"))
        energies = torch.stack([memory.energy(points).detach() for points in walked.points])
        text = (
            f"Metropolis accepted {100 * float(walked.accepted.mean()):.1f} % of the steps, and "
            f"{100 * float(walked.accepted.min()):.1f} % in the dream with the fewest."
        )
        if night.towards is None:
            text += f" {_compared(night, energies[-1])}"
        return Walked(walked.points, energies, text)


def _compared(night: Night, energies: Tensor) -> str:
    """Compare the last energies with those of direct samples."""
    from scipy.stats import ks_2samp

    direct = night.memory.energy(night.memory.sample(_COMPARED, night.generator("direct samples"))).detach()
    found = ks_2samp(energies.numpy(), direct.numpy())
    return (
        f"Mean energy of the last states: {float(energies.mean()):.2f}, of {_COMPARED:,} direct samples "
        f"{float(direct.mean()):.2f}; Kolmogorov-Smirnov p = {found.pvalue:.2g}."
    )


def _along_paths(night: Night, start: Tensor) -> Walked:
    memory = night.memory
    end = memory.sample(night.dreams, night.generator("end"))
    paths = shortest_paths(memory.energy, start, end, night.steps)
    energies = torch.stack([memory.energy(points).detach() for points in paths.points])
    below = int((paths.energy < paths.straight).sum())
    text = (
        f"Mean energy along the curves: {float(paths.energy.mean()):.2f}, along the straight lines between their ends "
        f"{float(paths.straight.mean()):.2f}; it is lower along {below} of {len(start)}. The curves are "
        f"{float(paths.length.mean()):.3f} as long as the lines in the metric weighted by 1 / density."
    )
    return Walked(paths.points, energies, text)


def show_dream(
    folder: PictureFolder, night: Night, field: Field, factor: int, judge: Judge | None, animation: Format | None
) -> str:
    """Walk, decode every state that is drawn, and draw them; return the text.

    Args:
        folder: where the files are written.
        night: what is dreamt.
        field: decodes states.
        factor: places per side that are asked for in the cell of each location.
        judge: names the nearest class of every picture; None for none.
        animation: format of the animation of all dreams; None for none.
    """
    walked = walk(night)
    shown = list(range(0, night.steps + 1, night.every))
    points = walked.points[shown].flatten(0, 1)
    columns = night.memory.basis.columns(night.memory.shown(points))
    decoded = decode(field, columns, factor)
    islands = decoded.islands()
    rows: list[dict[str, Value]] = [
        {
            "dream": index % night.dreams,
            "step": shown[index // night.dreams],
            "energy": float(energy),
            "islands": int(islands[index].max()) + 1,
        }
        for index, energy in enumerate(walked.energies[shown].flatten())
    ]
    text = [walked.text]
    if judge is not None:
        text.append(_judged(rows, judge, decoded, columns, night))
    title = _title(night, field)
    folder.write("dream.png", draw_strip(f"{title}; the first dream", None, _large(rows, decoded, islands, night)))
    by_step = decoded.colours.unflatten(0, (len(shown), night.dreams))
    sheets = [
        contact_sheet(pictures, _captions(rows[at * night.dreams : (at + 1) * night.dreams]), f"{title}; step {step}")
        for at, (step, pictures) in enumerate(zip(shown, by_step, strict=True))
        if animation is not None or step == shown[-1]
    ]
    folder.write("dream-sheet.png", as_png(sheets[-1]))
    folder.write("dream-strips.png", as_png(strips(by_step, [f"step {step}" for step in shown], title)))
    folder.remove_animations("dream")
    if animation is not None:
        folder.write(f"dream.{animation}", encode_animation(sheets, animation, _FRAME_MS))
    folder.write("dream.csv", as_csv(rows))
    of_first = [row for row in rows if row["dream"] == 0]
    return "\n\n".join([title, as_table(of_first), *text])


def _judged(rows: list[dict[str, Value]], judge: Judge, decoded: Decoded, columns: Tensor, night: Night) -> str:
    """Add what the judge says to the rows; return a text on it."""
    embeddings = encoded_pictures(judge.teacher, decoded.colours)
    most, nearest = judge.probabilities(embeddings).max(1)
    for row, label, probability in zip(rows, nearest.tolist(), most.tolist(), strict=True):
        row |= {"class": judge.classes[label], "probability": probability}
    counts = Counter(str(row["class"]) for row in rows[-night.dreams :])
    named = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    text = f"Last states, by the nearest class of their pictures ({len(counts)} of {len(judge.classes)}): {named}."
    if night.towards is None:
        return text
    seen = embeddings @ night.towards.embedding
    with torch.no_grad():
        token = torch.cat([night.towards.agreement(part) for part in columns.split(night.dreams)])
    for row, by_picture, by_token in zip(rows, seen.tolist(), token.tolist(), strict=True):
        row |= {"picture to text": by_picture, "token to text": by_token}
    first, last = slice(0, night.dreams), slice(-night.dreams, None)
    closer = int((seen[last] > seen[first]).sum())
    before, after, driven, drove = (float(each.mean()) for each in (seen[first], seen[last], token[first], token[last]))
    return (
        f"{text}\n\nTowards {night.towards.text!r}: the pictures' cosine to it goes from {before:.3f} to {after:.3f}, "
        f"upwards in {closer} of {night.dreams}; the token's, which drove them, from {driven:.3f} to {drove:.3f}."
    )


def _title(night: Night, field: Field) -> str:
    drawn = f" towards {night.towards.text!r}" if night.towards else ""
    return (
        f"{pluralise(night.dreams, 'dream')} of {pluralise(night.steps, 'step')}{drawn} through the {night.kind} of "
        f"field {field.sha256[:DIGITS]}, walk {night.walk}, seed {night.seed}"
    )


def _captions(rows: Sequence[dict[str, Value]]) -> list[str]:
    """Return the nearest class with its probability, or the energy where nobody judges."""
    return [
        f"{str(row['class'])[:8]} {100 * float(row['probability']):.0f}%"
        if "class" in row
        else f"E {row['energy']:.1f}"
        for row in rows
    ]


def _large(
    rows: Sequence[dict[str, Value]], decoded: Decoded, islands: Sequence[np.ndarray], night: Night
) -> list[Column]:
    """Return the states of the first dream as columns of a strip."""
    of_first = range(0, len(rows), night.dreams)
    step = -(-len(of_first) // _SHOWN)
    chosen = of_first[::step]
    shadings = joint_colours([decoded.features[index] for index in chosen])
    columns = []
    for index, shading in zip(chosen, shadings, strict=True):
        row = rows[index]
        heading = f"step {row['step']}, E {row['energy']:.1f}\nislands {row['islands']}"
        if "class" in row:
            heading += f"\n{row['class']} {100 * float(row['probability']):.0f} %"
        pictures = {
            "colours": decoded.colours[index].double().numpy(),
            "features": shading,
            "islands": _flat(shading, islands[index]),
        }
        columns.append(Column(heading, pictures))
    return columns


def _flat(shading: Floats, labels: np.ndarray) -> Floats:
    """Give every island the mean of its colours."""
    count = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=count)
    means = np.stack([np.bincount(labels.ravel(), shading[..., c].ravel(), count) / sizes for c in range(3)], 1)
    flat: Floats = means[labels]
    return flat
