"""TENT and SAR on ``embedded-resnet``, derived a second time without this package's methods, on the stream of a run.

What the embedded table says of them is then said of the methods and not of this implementation. The second derivation
has the model from open_clip, its preprocessing, autograd and PyTorch's optimizers alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import open_clip
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

import apm_tta
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import Condition
from apm_tta.harness.compute.stream_order import stream_order
from apm_tta.harness.plan import Stream, Streaming
from apm_tta.harness.streams import build_setting
from apm_tta.teachers.embedded import FOLDERS

Logits = Callable[[nn.Module, Tensor], Tensor]
"""Take an image tower and images ``(B, 3, S, S)``; return logits ``(B, C)``."""

CONDITION = Condition("contrast", 5)
IMAGES, BATCH, SEED = 320, 64, 0


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any, Tensor]:
    """Return open_clip's model in evaluation mode, its transform, and the class weights ``(C, F)``."""
    made: Any
    made, _, transform = open_clip.create_model_and_transforms(f"local-dir:{FOLDERS['embedded-resnet']}")
    made.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{FOLDERS['embedded-resnet']}")
    card = open_dataset("fashion-mnist").card
    with torch.no_grad():
        tokens = tokenizer([card.template.replace("{}", name) for name in card.class_list.names])
        return made, transform, normalize(made.encode_text(tokens), dim=-1)


@pytest.fixture(scope="module")
def stream(model: tuple[Any, Any, Tensor]) -> tuple[list[str], Tensor]:
    """Return ids and pixels ``(N, 3, S, S)`` in the order of the stream."""
    dataset = open_dataset("fashion-mnist", limit=IMAGES)
    streaming = Streaming(build_setting("iid"), "corruption")
    order = stream_order(dataset, Stream(streaming, ((CONDITION, IMAGES),), None, SEED, ()))
    pixels = torch.stack([model[1](dataset.read(entry, condition).image.convert("RGB")) for condition, entry in order])
    return [entry.id for _, entry in order], pixels


def with_batch_statistics(visual: nn.Module, kept: str | None) -> tuple[nn.Module, list[nn.Parameter]]:
    """Return a copy whose BatchNorm has the statistics of the batch, and its scales and shifts outside ``kept``."""
    visual = copy.deepcopy(visual).requires_grad_(False)
    parameters = []
    for name, layer in visual.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = None
            if kept is None or kept not in name:
                parameters += [layer.weight.requires_grad_(), layer.bias.requires_grad_()]
    return visual, parameters


def entropies(logits: Tensor) -> Tensor:
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def tent(logits_of: Logits, visual: nn.Module, batches: list[Tensor]) -> Iterator[Tensor]:
    """TENT (arXiv 2006.10726), section 4's settings for CIFAR: Adam at 1e-3."""
    visual, parameters = with_batch_statistics(visual, None)
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for batch in batches:
        logits = logits_of(visual, batch)
        optimizer.zero_grad()
        entropies(logits).mean().backward()
        optimizer.step()
        yield logits.detach()


def sar(logits_of: Logits, visual: nn.Module, batches: list[Tensor]) -> Iterator[Tensor]:
    """SAR (arXiv 2302.12400), section 4's settings; the last stage is not adapted (appendix C.2)."""
    source = visual
    margin, average = 0.4 * math.log(10), None
    visual, parameters = with_batch_statistics(source, "layer4")
    start = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.SGD(parameters, lr=2.5e-4, momentum=0.9)
    for batch in batches:
        logits = logits_of(visual, batch)
        first = entropies(logits)
        sure = first.detach() < margin
        optimizer.zero_grad()
        (first[sure].sum() / max(int(sure.sum()), 1)).backward()
        gradients = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        length = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
        steps = [0.05 * gradient / (length + 1e-12) for gradient in gradients]
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter += step
        second = entropies(logits_of(visual, batch))
        still = sure & (second.detach() < margin)
        loss = second[still].sum() / max(int(still.sum()), 1)
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter -= step
        optimizer.step()
        if still.any():
            average = float(loss.detach()) if average is None else 0.9 * average + 0.1 * float(loss.detach())
        if average is not None and average < 0.2:
            with torch.no_grad():
                for parameter, value in zip(parameters, start, strict=True):
                    parameter.copy_(value)
        yield logits.detach()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the records of ``tent`` and ``sar`` in a run over the stream."""
    settings = {"methods": ["zeroshot", "tent", "sar"], "severities": [CONDITION.severity], "seeds": [SEED]}
    finished = apm_tta.run(
        "demo",
        **settings,
        teacher="embedded-resnet",
        corruptions=[CONDITION.corruption],
        limit=IMAGES,
        out=tmp_path_factory.mktemp("runs") / "run",
        quiet=True,
    )
    return finished.answers(corruption=CONDITION.corruption)


@pytest.mark.parametrize("derivation", [tent, sar], ids=["tent", "sar"])
def test_the_stream_of_a_run_has_the_answers_of_a_second_derivation(
    derivation: Any, model: tuple[Any, Any, Tensor], stream: tuple[list[str], Tensor], answers: pd.DataFrame
) -> None:
    """Sums in another order may decide a near tie differently: at most one answer in a hundred, none far from a tie."""
    made, _, weights = model
    ids, pixels = stream
    scale = made.logit_scale.detach().exp()

    def logits_of(visual: nn.Module, batch: Tensor) -> Tensor:
        return scale * normalize(visual(batch), dim=-1) @ weights.T

    logits = torch.cat(list(derivation(logits_of, made.visual, list(pixels.split(BATCH)))))
    own = answers[answers["method"] == derivation.__name__].set_index("id").loc[ids]
    plain = answers[answers["method"] == "zeroshot"].set_index("id").loc[ids]
    theirs = logits.argmax(1).numpy()
    assert (own["prediction"] != theirs).mean() <= 0.01
    assert (own["confidence"] - logits.softmax(1).max(1).values.numpy()).abs().median() <= 1e-3
    assert (plain["prediction"] != theirs).mean() > 0.05, "nothing was adapted"
