"""Compare methods that adapt a network with the authors' code: answers of six batches, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apm_tta.data.task import Task
from apm_tta.methods.confident import entropy
from apm_tta.methods.eata import importances
from apm_tta.teachers.base import Support
from apm_tta.teachers.support_features import SupportedTeacher

CLASSES = tuple(f"class {index}" for index in range(10))
Inspect = Callable[[Any], Mapping[str, Any]]


@pytest.fixture
def streamed(vectors: dict[str, np.ndarray], inputs: Any, build: Any, answer: Any) -> Callable[..., dict[str, Any]]:
    """Return a function that adapts a method to the six batches, and returns all that the file has of a variant."""

    def run(prefix: str, name: str, teacher: Any, kind: str, inspect: Inspect, **chosen: Any) -> dict[str, Any]:
        prepare = chosen.pop("prepare", None)
        method = build(name, teacher, Task(CLASSES), batch_size=16, **chosen)
        if prepare is not None:
            prepare(method)
        found: dict[str, Any] = {"logits": torch.stack([answer(method, part) for part in batches(inputs, kind)])}
        found |= inspect(method)
        start, outputs = f"out_{prefix}/", {}
        for key in vectors:
            own = key.removeprefix(start)
            if key.startswith(start) and not own.startswith("info_"):
                head, _, rest = own.partition("/")
                outputs[f"{prefix}/{own}"] = found[head][rest] if rest else found[head]
        return outputs

    return run


@pytest.fixture
def source_images() -> Callable[[Any, Tensor], Any]:
    """Return a function that gives a teacher source images ``(N, 3, S, S)``."""

    def give(teacher: Any, images: Tensor) -> Any:
        features, labels = torch.zeros(len(images), 1), torch.zeros(len(images), dtype=torch.long)
        support = Support(features, labels, CLASSES, "f" * 64, lambda index: images[index])
        return SupportedTeacher(teacher, support, teacher.classifier)

    return give


def batches(inputs: Mapping[str, np.ndarray], kind: str, what: str = "images") -> list[Tensor]:
    return list(torch.from_numpy(inputs[f"{kind}/{what}" if f"{kind}/{what}" in inputs else what]))


class ByName(dict[str, Tensor]):
    """Tensors by name, found by the end of it: a teacher wraps its network."""

    def __missing__(self, name: str) -> Tensor:
        return next(value for own, value in self.items() if own.endswith(name))


def parameters_of(encoder: Any) -> ByName:
    return ByName(encoder.network.named_parameters())


def adapted(method: Any) -> dict[str, Any]:
    return {"param": parameters_of(method.encoder)}


@pytest.mark.vectors("method_vectors/new/bn.npz")
def test_norm_is_the_authors(inputs: Any, agree: Any, network: Any, build: Any, answer: Any) -> None:
    images = batches(inputs, "bn")
    singles = torch.cat(images)[:32].split(1)
    outputs = {}
    for name, alpha, parts in (
        ("bn1_b16", None, images),
        ("alpha0.1_b16", 0.1, images),
        ("alpha0.5_b16", 0.5, images),
        ("alpha1.0_b16", 1.0, images),
        ("bn1_b1", None, singles),
        ("alpha0.1_b1", 0.1, singles),
    ):
        method = build("norm", network("bn"), Task(CLASSES), alpha=alpha, batch_size=len(parts[0]))
        answers = [answer(method, part) for part in parts]
        outputs[name] = torch.stack(answers) if parts is images else torch.cat(answers)
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/tent.npz")
def test_tent_is_the_authors(agree: Any, network: Any, streamed: Any) -> None:
    """Their variant with Nesterov momentum has no counterpart here."""
    outputs: dict[str, Any] = {}
    for kind in ("bn", "ln"):
        for name, setting, rate in (
            ("sgd_0.00025", "imagenet", 2.5e-4),
            ("sgd_0.01", "imagenet", 0.01),
            ("adam_0.001", "cifar", 1e-3),
        ):
            chosen = {"setting": setting, "learning_rate": rate}
            outputs |= streamed(f"{kind}/{name}", "tent", network(kind), kind, adapted, **chosen)
    agree(outputs)


def count_recoveries(method: Any) -> None:
    restore, method.recoveries = method.encoder.restore, 0

    def counted() -> None:
        method.recoveries += 1
        restore()

    method.encoder.restore = counted


def sar(method: Any) -> dict[str, Any]:
    return {**adapted(method), "ema": method.average, "resets": method.recoveries}


@pytest.mark.vectors("method_vectors/new/sar.npz")
def test_sar_is_the_authors(agree: Any, network: Any, streamed: Any) -> None:
    outputs: dict[str, Any] = {}
    for kind in ("bn", "ln"):
        for name, margin, rate, scale in (
            ("default", 0.4, 2.5e-4, None),
            ("lr01_m0.7", 0.7, 0.01, None),
            ("scale30_recovery", 0.9, 0.01, 30.0),
        ):
            chosen = {"margin": margin, "learning_rate": rate, "prepare": count_recoveries}
            outputs |= streamed(f"{kind}/{name}", "sar", network(kind, scale), kind, sar, **chosen)
    agree(outputs)


def count_updates(method: Any) -> None:
    """Count the images that pass the filter of confidence, and those that pass both, since the beginning."""
    unlike, method.passed = method._unlike, [0, 0]

    def counted(probabilities: Tensor) -> Tensor:
        new: Tensor = unlike(probabilities)
        certain = entropy(probabilities.log()) < method.margin
        method.passed = [method.passed[0] + int(certain.sum()), method.passed[1] + int((certain & new).sum())]
        return new

    method._unlike = counted


def eta(method: Any) -> dict[str, Any]:
    return {**adapted(method), "probs": method.average, "updates": torch.tensor(method.passed)}


@pytest.mark.vectors("method_vectors/new/eata.npz")
def test_eta_is_the_authors(agree: Any, network: Any, streamed: Any) -> None:
    outputs: dict[str, Any] = {}
    for prefix, margin, rate, redundancy in (
        ("bn/eta_default", 0.4, 2.5e-4, 0.05),
        ("bn/eta_lr01_d0.4", 0.4, 0.01, 0.4),
        ("bn/eta_lr01_e0.7_d0.4", 0.7, 0.01, 0.4),
        ("ln/eta_m", 0.7, 0.01, 0.4),
    ):
        kind = prefix.partition("/")[0]
        chosen = {"margin": margin, "learning_rate": rate, "redundancy": redundancy, "prepare": count_updates}
        outputs |= streamed(prefix, "eta", network(kind), kind, eta, **chosen)
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/eata.npz")
def test_eata_is_the_authors(agree: Any, network: Any, streamed: Any, inputs: Any, source_images: Any) -> None:
    outputs: dict[str, Any] = {}
    for prefix, rate in (
        ("bn/eata_lr01_e0.7_d0.4_f2000", 0.01),
        ("bn/eata_lr00025_e0.7_d0.4_f2000", 2.5e-4),
        ("ln/eata_m_f2000", 0.01),
    ):
        kind = prefix.partition("/")[0]
        source = torch.from_numpy(inputs[f"{kind}/source_images"])

        def in_order(method: Any, source: Tensor = source) -> None:
            """Take the source images in the file's order, in batches of eight."""
            count_updates(method)
            method.importances = importances(method.encoder, method.logits, source.split(8))

        def inspect(method: Any) -> dict[str, Any]:
            return {**eta(method), "fisher": ByName(zip(method.encoder.names, method.importances, strict=True))}

        chosen = {"margin": 0.7, "learning_rate": rate, "redundancy": 0.4, "penalty": 2000.0, "prepare": in_order}
        outputs |= streamed(prefix, "eata", source_images(network(kind), source), kind, inspect, **chosen)
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/rdumb.npz")
def test_rdumb_is_the_authors(agree: Any, network: Any, streamed: Any) -> None:
    outputs: dict[str, Any] = {}
    for name, every, rate in (("every3", 3, 0.01), ("never", 1000, 0.01), ("every1000_authors", 1000, 2.5e-4)):
        chosen = {"every": every, "learning_rate": rate, "margin": 0.7, "redundancy": 0.4, "prepare": count_updates}
        outputs |= streamed(name, "rdumb", network("bn"), "bn", eta, **chosen)
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/deyo.npz")
def test_deyo_is_the_authors(agree: Any, network: Any, streamed: Any, inputs: Any) -> None:
    outputs: dict[str, Any] = {}
    for kind in ("bn", "ln"):
        for name, rate, margin, threshold, weighted in (
            ("default", 2.5e-4, 0.5, 0.2, True),
            ("lr01_m0.7_p0.1", 0.01, 0.7, 0.1, True),
            ("lr01_m0.7_p0.1_plain", 0.01, 0.7, 0.1, False),
        ):
            counts: list[list[int]] = []
            orders = iter(batches(inputs, kind, "perm"))

            def given(method: Any, counts: Any = counts, orders: Any = orders) -> None:
                """Shuffle patches as the file does, and note how many images have passed before each batch."""
                fall, method.passed = method._fall, [0, 0]

                def draw(self: Any, _ids: Any) -> Tensor:
                    counts.append(list(self.passed))
                    return next(orders)

                def counted(*certain: Tensor) -> Tensor:
                    falls: Tensor = fall(*certain)
                    kept = int((falls > method.parameters.threshold).sum())
                    method.passed = [method.passed[0] + len(falls), method.passed[1] + kept]
                    return falls

                method._orders, method._fall = MethodType(draw, method), counted

            def inspect(method: Any, counts: Any = counts) -> dict[str, Any]:
                return {**adapted(method), "counts": torch.tensor([*counts, method.passed]).diff(dim=0)}

            chosen = {"margin": margin, "learning_rate": rate, "threshold": threshold, "weighted": weighted}
            outputs |= streamed(f"{kind}/{name}", "deyo", network(kind), kind, inspect, prepare=given, **chosen)
    agree(outputs)


def flipped(method: Any) -> None:
    method._changed = lambda pixels, kept: pixels[kept].flip(-1)


def recorded(inputs: Any, kind: str) -> Callable[[Any], None]:
    def prepare(method: Any) -> None:
        method._changed = lambda _pixels, kept: batches(inputs, kind, "augmented")[method.step][kept]

    return prepare


def roid(method: Any) -> dict[str, Any]:
    return {**adapted(method), "probs": method.average}


@pytest.mark.vectors("method_vectors/new/roid.npz")
def test_roid_is_the_authors(agree: Any, network: Any, streamed: Any, inputs: Any) -> None:
    outputs: dict[str, Any] = {}
    for kind in ("bn", "ln"):
        strong = {"learning_rate": 0.01, "prepare": flipped}
        for name, chosen in {
            "strong_off": {**strong, "consistency": False},
            "default_flip": {**strong, "learning_rate": 2.5e-4},
            "strong_flip": strong,
            "strong_noprior_flip": {**strong, "prior_correction": False},
            "strong_recorded": {**strong, "prepare": recorded(inputs, kind)},
        }.items():
            outputs |= streamed(f"{kind}/{name}", "roid", network(kind), kind, roid, **chosen)
    agree(outputs)


def cmf(method: Any) -> dict[str, Any]:
    return {**roid(method), "hidden": ByName(zip(method.encoder.names, method.hidden, strict=True))}


@pytest.mark.vectors("method_vectors/new/cmf.npz")
def test_cmf_is_the_authors(agree: Any, network: Any, streamed: Any, inputs: Any, vectors: Any) -> None:
    outputs: dict[str, Any] = {}
    for kind in ("bn", "ln"):
        count = sum(value.size for key, value in vectors.items() if key.startswith(f"out_{kind}/strong_off/param/"))
        strong = {"learning_rate": 0.01, "prepare": flipped, "variance": 0.007 * 38400 / count}
        slow = {"source_momentum": 0.9, "hidden_momentum": 0.9, "variance": 0.07 * 38400 / count}
        for name, chosen in {
            "default_flip": {"prepare": flipped},
            "strong_off": {**strong, "consistency": False},
            "strong_flip": strong,
            "strong_alpha9_flip": {**strong, **slow},
            "strong_recorded": {**strong, "prepare": recorded(inputs, kind)},
        }.items():
            outputs |= streamed(f"{kind}/{name}", "cmf", network(kind), kind, cmf, **chosen)
    agree(outputs)


def cotta(method: Any) -> dict[str, Any]:
    return {"param": parameters_of(method.student.encoder), "teacher": parameters_of(method.averaged.encoder)}


@pytest.mark.vectors("method_vectors/new/cotta.npz")
def test_cotta_is_the_authors(agree: Any, network: Any, streamed: Any, inputs: Any) -> None:
    outputs: dict[str, Any] = {}
    for kind in ("bn", "ln"):
        confidence, masks = float(inputs[f"{kind}/ap"]), f"{kind}/restore_"

        def given(method: Any, masks: str = masks) -> None:
            """Restore what the file restores, and roll images in place of changing them at random."""
            start = f"{masks}{method.parameters.restored}/"
            drawn = {key.removeprefix(start): value for key, value in inputs.items() if key.startswith(start)}

            def draw(whole: str, _shape: Any, _generator: Any) -> Tensor:
                return torch.from_numpy(next(each for own, each in drawn.items() if whole.endswith(own))[method.step])

            method._chosen = draw
            method._changed = lambda pixels: [torch.roll(pixels, shift, dims=3) for shift in range(4)]

        common = {"augmentations": 4, "prepare": given}
        for name, chosen in {
            "cifar_adam": {
                **{"confidence": confidence, "optimizer": "adam", "learning_rate": 1e-3, "loss": "forward"},
                **{"restored": 0.01, "momentum": 0.99},
            },
            "imagenet_sgd": {"confidence": confidence, "restored": 0.1, "momentum": 0.999},
            "norestore_alwaysaug": {"confidence": 1.0, "restored": 0.0, "momentum": 0.9, "loss": "forward"},
        }.items():
            outputs |= streamed(f"{kind}/{name}", "cotta", network(kind), kind, cotta, **common, **chosen)
    agree(outputs)


def rotta(method: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"param": parameters_of(method.student), "teacher": parameters_of(method.averaged)}
    for name, encoder in (("student_statistics", method.student), ("teacher_statistics", method.averaged)):
        averages = {
            f"{key.removesuffix(kind)}source_{kind.removeprefix('running_')}": value
            for key, value in encoder.network.named_buffers()
            for kind in ("running_mean", "running_var")
            if key.endswith(kind)
        }
        found[name] = ByName(averages)
    items = [(index, item) for index, own in enumerate(method.kept.items) for item in own]
    found["memory_classes"] = torch.tensor([index for index, _ in items])
    found["memory_ages"] = torch.tensor([item.age for _, item in items])
    found["memory_images"] = [item.pixels for _, item in items]
    return found


@pytest.mark.vectors("method_vectors/new/rotta.npz")
def test_rotta_is_the_authors(agree: Any, network: Any, streamed: Any, inputs: Any) -> None:
    outputs: dict[str, Any] = {}
    for kind in ("bn", "ln"):
        images = torch.cat(batches(inputs, kind))

        def inspect(method: Any, images: Tensor = images) -> dict[str, Any]:
            found = rotta(method)
            places = [int((images == each).flatten(1).all(1).nonzero()[0]) for each in found["memory_images"]]
            return {**found, "memory_images": torch.tensor(places)}

        def flip(method: Any) -> None:
            method._changed = lambda memory: memory.flip(-1)

        for name, chosen in {
            "mem16_f16": {"memory_size": 16, "update_every": 16},
            "mem8_f4_strong": {"memory_size": 8, "update_every": 4, "learning_rate": 0.01, "momentum": 0.05},
            "mem64_f64_default": {},
        }.items():
            chosen = {**chosen, "prepare": flip}
            outputs |= streamed(f"{kind}/{name}", "rotta", network(kind), kind, inspect, **chosen)
    agree(outputs)
