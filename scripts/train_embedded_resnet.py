"""Train the teacher ``embedded-resnet``, which the package carries: ``python scripts/train_embedded_resnet.py``.

open_clip's ModifiedResNet and a text tower learn from Fashion-MNIST's 60,000 *training* images and sentences that vary
together (``embedded_properties.py``). Each step has two losses, both the image-to-text half of CLIP's with all possible
sentences in place of the batch's:

* neutral: under each of a few of CLIP's templates the image must select its class;
* property: the image must select its class *and* its value of one property among the sentences of all classes with all
  values of it, so that a sentence of the same class with another value is wrong.

There is no label smoothing, the logit scale stays between 50 and 100, and the embeddings of tokens keep a standard
deviation of 0.02, since the learning rates and margins that papers state for CLIP assume these. The script keeps the
exponential average of the weights, then computes the statistics of Batch normalisation with it on plain training
images, and saves float16.

``--hold-out 5000`` trains without the last 5,000 training images and prints top-1 and the properties found on them: the
recipe was chosen by these, never by the test images nor by what any method does with the teacher. The trials, of
3 epochs each (``--hold-out 5000 --epochs 3``):

* learning rate 2e-3: top-1 84.52 %; found size 73.4 %, place 94.0, orientation 74.7, colour 80.7, ground 73.8;
* learning rate 5e-3: top-1 84.48 %; found size 69.4 %, place 90.7, orientation 69.1, colour 47.9, ground 59.5.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from embedded_properties import NEUTRAL, PROPERTIES, draw_pictures, draw_values, usual_values
from embedded_training import (
    CLASSES,
    learning_rate,
    normalized,
    parameter_groups,
    resized_images,
    save_weights,
    top_1,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from apm_tta.data.fashion_mnist import DEBIAN_FOLDER, load_split
from apm_tta.teachers.embedded import FOLDERS, WEIGHTS
from apm_tta.teachers.open_clip_tokenizer import load_tokenizer
from apm_tta.teachers.templates import TEMPLATES, fill_template
from apm_tta.teachers.text_tower import TextTower

NAME = "embedded-resnet"
FOLDER = FOLDERS[NAME]
CONFIG = json.loads((FOLDER / "open_clip_config.json").read_text())
SIDE = CONFIG["model_cfg"]["vision_cfg"]["image_size"]
TOKEN_STD = 0.02
LOGIT_SCALES = (50.0, 100.0)


class Sentences:
    """The tokens of every sentence with every class, without trailing padding."""

    def __init__(self, tower: TextTower) -> None:
        def tokens(templates: Sequence[str]) -> Tensor:
            return torch.stack([tower.tokens([fill_template(t, c) for c in CLASSES]) for t in templates])

        self._tower = tower
        self.neutral = tokens(NEUTRAL)
        self.by_value = {each.name: [tokens(each.sentences[value]) for value in each.values] for each in PROPERTIES}

    def used_tokens(self) -> Tensor:
        """Return the tokens that occur in any sentence, or in CLIP's templates."""
        every = [self.neutral, *(tokens for values in self.by_value.values() for tokens in values)]
        clip = self._tower.tokens([fill_template(t, c) for t in TEMPLATES["openai80"] for c in CLASSES])
        return torch.cat([*(each.flatten() for each in every), clip.flatten()]).unique()

    def encode(self, tokens: Tensor) -> Tensor:
        """Encode tokens ``(K, C, L)`` as unit vectors ``(K * C, F)``."""
        short = self._tower.truncate(tokens.flatten(0, 1))
        unit: Tensor = normalize(self._tower.encode(self._tower.embed(short), short), dim=-1)
        return unit

    def draw_neutral(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` neutral templates, ``(count, C, L)``."""
        return self.neutral[torch.randperm(len(self.neutral), generator=generator)[:count]]

    def draw_values(self, name: str, generator: torch.Generator) -> Tensor:
        """Draw one sentence for each of the V values of a property, ``(V, C, L)``."""
        return torch.stack(
            [tokens[torch.randint(len(tokens), (), generator=generator)] for tokens in self.by_value[name]]
        )


def make_model() -> tuple[Any, Sentences]:
    """Make the untrained model and its sentences."""
    model = open_clip.create_model(f"local-dir:{FOLDER}", load_weights=False)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(LOGIT_SCALES[0]))
    return model, sentences_of(model)


def sentences_of(model: Any) -> Sentences:
    """Return the sentences, encoded by ``model`` as its weights change."""
    tokenizer = load_tokenizer(NAME, f"local-dir:{FOLDER}", CONFIG["model_cfg"]["text_cfg"])
    return Sentences(TextTower(NAME, model, tokenizer, torch.device("cpu")))


def step_loss(
    model: Any, sentences: Sentences, images: Tensor, labels: Tensor, generator: torch.Generator, templates: int
) -> Tensor:
    """Compute the loss of a batch ``(B, 1, S, S)``: neutral plus property."""
    focus = PROPERTIES[torch.randint(len(PROPERTIES), (), generator=generator)]
    values = draw_values(len(images), focus, generator)
    pictures = draw_pictures(images, values, generator)
    image = normalize(model.visual(normalized(pictures, CONFIG["preprocess_cfg"])), dim=-1)
    tokens = torch.cat([sentences.draw_neutral(templates, generator), sentences.draw_values(focus.name, generator)])
    logits = model.logit_scale.exp() * (image @ sentences.encode(tokens).T)
    neutral, said = logits.split([templates * len(CLASSES), len(focus.values) * len(CLASSES)], 1)
    by_class = neutral.unflatten(1, (templates, -1)).flatten(0, 1)
    return cross_entropy(by_class, labels.repeat_interleave(templates)) + cross_entropy(
        said, values[focus.name] * len(CLASSES) + labels
    )


@torch.no_grad()
def keep_in_bounds(model: Any, used: Tensor) -> None:
    """Clamp the logit scale, and give the embeddings of the used tokens their standard deviation back."""
    model.logit_scale.clamp_(*map(math.log, LOGIT_SCALES))
    rows = model.token_embedding.weight[used]
    model.token_embedding.weight[used] = rows * (TOKEN_STD / rows.std())


@torch.no_grad()
def compute_statistics(model: Any, pixels: Tensor, batch: int = 500) -> None:
    """Replace the statistics of Batch normalisation by those of plain images ``(N, 1, S, S)``."""
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
    model.train()
    for part in pixels.split(batch):
        model.visual(normalized(part.float() / 255, CONFIG["preprocess_cfg"]))
    model.eval()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def properties_found(model: Any, sentences: Sentences, pixels: Tensor, labels: Tensor) -> dict[str, float]:
    """Compute how often an image with a value of a property selects it among its values, its class being given.

    Values are drawn alike, so chance is 1 / V. Sentences are the mean of all of a value.
    """
    generator = torch.Generator().manual_seed(0)
    shares = {}
    for each in PROPERTIES:
        values = usual_values(len(pixels))
        values[each.name] = torch.randint(len(each.values), (len(pixels),), generator=generator)
        by_value = [
            normalize(sentences.encode(tokens).unflatten(0, (len(tokens), -1)).mean(0), dim=-1)
            for tokens in sentences.by_value[each.name]
        ]
        text = torch.stack(by_value, 1)  # (C, V, F)
        right = 0
        for chosen in torch.arange(len(pixels)).split(500):
            own = {name: value[chosen] for name, value in values.items()}
            pictures = draw_pictures(pixels[chosen].float() / 255, own, generator)
            image = normalize(model.visual(normalized(pictures, CONFIG["preprocess_cfg"])), dim=-1)
            found = torch.einsum("bf,bvf->bv", image, text[labels[chosen]]).argmax(1)
            right += int((found == own[each.name]).sum())
        shares[each.name] = right / len(pixels)
    return shares


@torch.no_grad()
def context_cosine(sentences: Sentences) -> float:
    """Compute the mean cosine of a class between two sentences of other values of one property."""
    cosines = []
    for values in sentences.by_value.values():
        text = torch.stack([sentences.encode(tokens).unflatten(0, (len(tokens), -1))[0] for tokens in values])
        products = torch.einsum("vcf,wcf->cvw", text, text)
        cosines.append(products[:, ~torch.eye(len(values), dtype=torch.bool)].flatten())
    return float(torch.cat(cosines).mean())


@torch.no_grad()
def class_accuracy(model: Any, sentences: Sentences, pixels: Tensor, labels: Tensor) -> float:
    """Compute top-1 on plain images with the mean of the neutral sentences."""
    text = normalize(sentences.encode(sentences.neutral).unflatten(0, (-1, len(CLASSES))).mean(0), dim=-1)
    images = [
        normalize(model.visual(normalized(part.float() / 255, CONFIG["preprocess_cfg"])), dim=-1)
        for part in pixels.split(500)
    ]
    return float(((torch.cat(images) @ text.T).argmax(1) == labels).double().mean())


def describe(model: Any, sentences: Sentences, pixels: Tensor, labels: Tensor) -> str:
    """Say what the towers do on images that they were not trained on."""
    shares = properties_found(model, sentences, pixels, labels)
    found = ", ".join(
        f"{each.name} {100 * shares[each.name]:.1f} % (chance {100 / len(each.values):.1f})" for each in PROPERTIES
    )
    accuracy = 100 * class_accuracy(model, sentences, pixels, labels)
    scale = float(model.logit_scale.detach().exp())
    tokens = model.token_embedding.weight.detach()[sentences.used_tokens()].std()
    return (
        f"top-1 {accuracy:.2f} %; property found: {found}; cosine between sentences {context_cosine(sentences):.3f}; "
        f"logit scale {scale:.1f}; token embeddings' standard deviation {tokens:.4f}"
    )


def train(options: argparse.Namespace) -> None:
    """Train, or resume from ``options.checkpoint``, and write the weights."""
    torch.manual_seed(options.seed)  # open_clip draws its initial weights from the global generator
    model, sentences = make_model()
    used = sentences.used_tokens()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999))
    images, labels = load_split(options.data_root, "train")
    pixels, targets = resized_images(images, SIDE), torch.from_numpy(labels.astype(np.int64))
    kept = len(pixels) - options.hold_out
    held_out, held_targets = pixels[kept:], targets[kept:]
    pixels, targets = pixels[:kept], targets[:kept]

    optimizer = torch.optim.AdamW(parameter_groups(model), betas=(0.9, 0.98), fused=True)
    steps_per_epoch = len(pixels) // options.batch
    steps = steps_per_epoch * options.epochs
    first_epoch, minutes = 0, 0.0
    if options.checkpoint and options.checkpoint.exists():
        state = torch.load(options.checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch, minutes = state["epoch"], state["minutes"]

    for epoch in range(first_epoch, options.epochs):
        started, losses = time.perf_counter(), []
        generator = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        order = torch.randperm(len(pixels), generator=generator)[: steps_per_epoch * options.batch]
        model.train()
        for index, chosen in enumerate(order.split(options.batch)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * steps_per_epoch + index, steps, options.learning_rate)
            batch = pixels[chosen].float() / 255
            loss = step_loss(model, sentences, batch, targets[chosen], generator, options.templates)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            keep_in_bounds(model, used)
            average.update_parameters(model)
            losses.append(loss.item())
        minutes += (time.perf_counter() - started) / 60
        print(
            f"epoch {epoch + 1}/{options.epochs} loss {np.mean(losses):.4f}, {minutes:.1f} minutes so far", flush=True
        )
        if options.checkpoint:
            state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            partial = options.checkpoint.with_suffix(".partial")
            torch.save({**state, "epoch": epoch + 1, "minutes": minutes}, partial)
            partial.replace(options.checkpoint)

    trained = average.module
    keep_in_bounds(trained, used)
    compute_statistics(trained, pixels)
    print(f"trained in {minutes:.1f} minutes on {torch.get_num_threads()} threads")
    if options.hold_out:
        print(
            f"{options.hold_out:,} images held out: {describe(trained, sentences_of(trained), held_out, held_targets)}"
        )
    else:
        save_weights(trained, used, WEIGHTS[NAME])


def evaluate(data_root: Path) -> None:
    """Print what the saved weights do on the 10,000 test images."""
    for templates, accuracy in top_1(NAME, data_root).items():
        print(f"top-1 on all 10,000 test images, templates {templates}: {100 * accuracy:.2f} %")
    model = open_clip.create_model(f"local-dir:{FOLDER}").eval()
    images, labels = load_split(data_root, "test")
    pixels, targets = resized_images(images, SIDE), torch.from_numpy(labels.astype(np.int64))
    print(f"10,000 test images: {describe(model, sentences_of(model), pixels, targets)}")


def main() -> None:
    """Train the teacher unless only its evaluation is requested, and print what it does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=DEBIAN_FOLDER, help="folder with the four idx files")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--templates", type=int, default=2, help="neutral templates per step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold-out", type=int, default=0, help="training images to leave out and report on")
    parser.add_argument(
        "--checkpoint", type=Path, help="file written after every epoch; if it exists, training resumes from it"
    )
    parser.add_argument("--evaluate", action="store_true", help="only evaluate the existing weights")
    options = parser.parse_args()
    if not options.evaluate:
        train(options)
    if not options.hold_out:
        evaluate(options.data_root)


if __name__ == "__main__":
    main()
