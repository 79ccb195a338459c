"""What is timed: each baseline beside its plain form, at the size of CLIP ViT-B/16 on ImageNet."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from torch import Tensor

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, build_parameters, mta, tda, tps, vte, zero
from apm_tta.methods.confident import entropy
from apm_tta.methods.encoder import AdaptableEncoder, normalisation_layers
from apm_tta.teachers import load_teacher
from benchmarks.baselines import plain
from benchmarks.baselines.embeddings import draw

SCALE, BATCH, CLASSES = 100.0, 16, 1000
Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One ratio.

    Attributes:
        name: what is timed, and its size.
        calls: makes two functions: the plain form's and ours. They are called in turn and do the same work.
        runs: how often, after one call that does not count.
        asked: the least ratio that was asked for; None where none was.
    """

    name: str
    calls: Callable[[], tuple[Call, Call]]
    runs: int = 31
    asked: float | None = None


def embedded(method: Any, images: int = BATCH) -> Callable[[], tuple[Call, Call]]:
    """Return what makes the calls of a method over embeddings: images one after another, and all of them together."""

    def calls() -> tuple[Call, Call]:
        views, weights = draw(images)
        plainly = getattr(plain, method.__name__.rpartition(".")[2])
        return (
            lambda: [plainly(one, weights, SCALE) for one in views],
            lambda: method.from_features(views, weights, SCALE),
        )

    return calls


def stream(views: int, before: int, images: int) -> Callable[[], tuple[Call, Call]]:
    """Return what makes the calls of TDA: the next batch of a stream, or of the next one after so many images.

    Args:
        views: per image.
        before: images that both forms have seen when the timing begins.
        images: of a stream, after which both begin anew; 0 for a stream that goes on.
    """

    def calls() -> tuple[Call, Call]:
        _, weights = draw(1)

        def batches() -> Iterator[Tensor]:
            seed = 0
            while True:
                seed += 1
                yield draw(BATCH, views=views, seed=seed)[0]

        def answers(make: Callable[[], Callable[[Tensor], object]]) -> Call:
            """Answer batch after batch; the next one is drawn when it is not timed: all of them beforehand."""
            drawn = batches()
            ready = [next(drawn) for _ in range(before // BATCH + 40)]
            state = {"answer": make(), "next": 0}

            def call() -> object:
                position: Any = state["next"]
                if images and position * BATCH % images == 0:
                    state["answer"] = make()
                state["next"] = position + 1
                answer: Any = state["answer"]
                return answer(ready[position])

            for _ in range(before // BATCH):
                call()
            return call

        def plainly() -> Callable[[Tensor], object]:
            method = plain.Tda(weights, SCALE)
            return lambda batch: [method(one) for one in batch]

        def ours() -> Callable[[Tensor], object]:
            method = tda.Adapter(weights)
            return lambda batch: method.stream(batch, SCALE)

        return answers(plainly), answers(ours)

    return calls


def bound() -> tuple[Call, Call]:
    """Make the calls of VTE's plain form, and of the product alone that it and ours both need."""
    views, weights = draw(BATCH)
    flat = views.flatten(0, 1)
    return lambda: [plain.vte(one, weights, SCALE) for one in views], lambda: flat @ weights.T


def text_side() -> tuple[Call, Call]:
    """Make the calls of TPT for one image, after the image tower: ImageNet's prompts through a small text tower.

    Plainly, all prompts have the context length; a tower of CLIP's size would take minutes per image that way.
    """
    width, name = 64, "tuned-clip"
    configuration = {
        "embed_dim": width,
        "vision_cfg": {"image_size": 64, "layers": 1, "width": width, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": width, "heads": 1, "layers": 3},
    }
    card = load_card("imagenet")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.json").write_text(json.dumps(configuration))
        open_clip.add_model_config(Path(folder) / f"{name}.json")
        torch.manual_seed(0)
        torch.save(open_clip.create_model(name, load_weights=False).state_dict(), Path(folder) / "weights.pt")
        teacher = load_teacher(f"{name}:{folder}/weights.pt", cache=None)
        names = tuple(card.class_list.names)
        task = Task(names, card.template, card.family)
        method: Any = METHODS.get("tpt")(teacher, task, build_parameters("tpt", {}), 0)
    views, _ = draw(1, width=width)
    tower, context = method.tower, method.parameters.context
    tokens = tower.tokens([f"{context} {each}." for each in names])
    with torch.no_grad():
        rows = tower.embed(tokens)

    def encode(tuned: Tensor) -> Tensor:
        between = tuned.expand(len(rows), -1, -1)
        prompts = torch.cat([rows[:, : method.start], between, rows[:, method.stop :]], dim=1)
        weights: Tensor = tower.encode(prompts, tokens)
        return weights / weights.norm(dim=-1, keepdim=True)

    scale = float(teacher.scales(views[:, 0])[0])
    return lambda: plain.tpt(encode, views[0], method.context, scale), lambda: method._tune(views)


def layout() -> tuple[Call, Call]:
    """Make the calls of a step of TENT through ResNet-50 with images as usual, and with channels last."""
    network = timm.create_model("resnet50", num_classes=0).eval()
    layers = normalisation_layers(network)
    pixels = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def step(channels_last: bool) -> Call:
        encoder = AdaptableEncoder(network, layers, "batch", channels_last=channels_last)

        def call() -> None:
            with torch.enable_grad():
                entropy(encoder(pixels)).mean().backward()

        return call

    return step(False), step(True)


CASES = (
    Case("mta, one image", embedded(mta, 1), asked=1.5),
    Case("mta, 16 images", embedded(mta), asked=5),
    Case("tda, first 64 images", stream(1, 0, 64), asked=1),
    Case("tda, after 1000 images", stream(1, 1008, 0), asked=5),
    Case("tda, 64 views, first 64 images", stream(64, 0, 64), asked=1),
    Case("tda, 64 views, after 1000 images", stream(64, 1008, 0), runs=21, asked=5),
    Case("tps, 16 images", embedded(tps), asked=3),
    Case("zero, 16 images", embedded(zero), asked=4),
    Case("vte, 16 images", embedded(vte), asked=1.5),
    Case("vte against the product of all views with all class weights, 16 images", bound),
    Case("tpt, text side, one image, tower of width 64 with 3 layers", text_side, runs=21, asked=4),
    Case("tent through ResNet-50, 8 images: contiguous against channels_last", layout, runs=7, asked=1.2),
)
