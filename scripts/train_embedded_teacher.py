"""Train the teacher ``embedded``, which the package carries: ``python scripts/train_embedded_teacher.py``.

A small open_clip model learns to match Fashion-MNIST's 60,000 *training* images with class-name prompts. Each step
draws a few of CLIP's 80 templates; under each, the image embedding must select its class's prompt among those of all
classes (the image-to-text half of CLIP's loss, with the classes in place of the batch's captions: a batch of ten
classes contains the same caption many times, which the symmetric loss would count as wrong). Augmentation is a flip and
a gentle crop: training never uses a corruption that the benchmark tests. The first part of the schedule drops half of
the image tokens (FLIP, arXiv 2212.00794), which halves the cost of a step. The script saves the exponential average of
the weights in float16; embedding rows of tokens that no prompt uses are zero, so that the file compresses.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from embedded_training import (
    CLASSES,
    learning_rate,
    normalized,
    parameter_groups,
    resized_images,
    save_weights,
    top_1,
)
from open_clip.transformer import PatchDropout
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from apm_tta.data.fashion_mnist import DEBIAN_FOLDER, load_split
from apm_tta.teachers.embedded import FOLDERS, WEIGHTS
from apm_tta.teachers.templates import TEMPLATES

FOLDER = FOLDERS["embedded"]
CONFIG = json.loads((FOLDER / "open_clip_config.json").read_text())


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a random crop (area 0.6 .. 1, ratio 4:5 .. 5:4) and horizontal flip to ``(B, 1, S, S)`` floats."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(len(images)).uniform_(low, high, generator=generator)

    side = uniform(0.6, 1.0).sqrt()
    stretch = uniform(math.log(4 / 5), math.log(5 / 4)).mul(0.5).exp()
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    flip = uniform(-1, 1).sign()
    zero = torch.zeros_like(width)
    rows = (
        torch.stack([width * flip, zero, (1 - width) * uniform(-1, 1)], 1),
        torch.stack([zero, height, (1 - height) * uniform(-1, 1)], 1),
    )
    grid = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def prompt_tokens(classes: tuple[str, ...]) -> Tensor:
    """Tokenise every template with every class, ``(T, C, context)``."""
    tokenizer = open_clip.get_tokenizer(f"local-dir:{FOLDERS['embedded']}")
    return torch.stack([tokenizer([t.format(c) for c in classes]) for t in TEMPLATES["openai80"]])


def train(options: argparse.Namespace) -> None:
    """Train, or resume from ``options.checkpoint``, and write the weights."""
    torch.manual_seed(options.seed)  # open_clip draws its initial weights from the global generator
    model = open_clip.create_model(f"local-dir:{FOLDERS['embedded']}", load_weights=False)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999))
    images, labels = load_split(options.data_root, "train")
    pixels = resized_images(images, CONFIG["model_cfg"]["vision_cfg"]["image_size"])
    targets = torch.from_numpy(labels.astype(np.int64))
    tokens = prompt_tokens(CLASSES)

    optimizer = torch.optim.AdamW(parameter_groups(model), betas=(0.9, 0.98), fused=True)
    steps_per_epoch = len(pixels) // options.batch
    steps = steps_per_epoch * options.epochs
    first_epoch = 0
    if options.checkpoint and options.checkpoint.exists():
        state = torch.load(options.checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch = state["epoch"]

    for epoch in range(first_epoch, options.epochs):
        started, losses = time.perf_counter(), []
        generator = torch.Generator().manual_seed(options.seed * 1000 + epoch)
        order = torch.randperm(len(pixels), generator=generator)[: steps_per_epoch * options.batch]
        dropped = epoch < options.dropped_epochs
        model.visual.patch_dropout = PatchDropout(0.5) if dropped else nn.Identity()
        model.train()
        for index, chosen in enumerate(order.split(options.batch)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * steps_per_epoch + index, steps, options.learning_rate)
            batch = normalized(augment(pixels[chosen].float() / 255, generator), CONFIG["preprocess_cfg"])
            templates = torch.randperm(len(tokens), generator=generator)[: options.templates]
            # The fused CPU attention is slower backwards than plain products at 33 or 65 tokens.
            with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
                image = model.encode_image(batch, normalize=True).float()
                text = model.encode_text(tokens[templates].flatten(0, 1), normalize=True).float()
            logits = model.logit_scale.exp() * (image @ text.T).unflatten(1, (len(templates), -1))
            expected = targets[chosen][:, None].expand(-1, len(templates))
            loss = cross_entropy(logits.flatten(0, 1), expected.flatten(), label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            average.update_parameters(model)
            losses.append(loss.item())
        print(
            f"epoch {epoch + 1}/{options.epochs} loss {np.mean(losses):.4f} {time.perf_counter() - started:.0f} s",
            flush=True,
        )
        if options.checkpoint:
            state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "epoch": epoch + 1}, options.checkpoint)
    save_weights(average.module, tokens.unique(), WEIGHTS["embedded"])


def main() -> None:
    """Train the teacher unless only its evaluation is requested, and print its accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=DEBIAN_FOLDER, help="folder with the four idx files")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--dropped-epochs", type=int, default=20, help="epochs that use half of the image tokens")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--templates", type=int, default=2, help="templates per step")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--checkpoint", type=Path, help="file written after every epoch; if it exists, training resumes from it"
    )
    parser.add_argument("--evaluate", action="store_true", help="only evaluate the existing weights")
    options = parser.parse_args()
    if not options.evaluate:
        started = time.perf_counter()
        train(options)
        print(f"trained in {(time.perf_counter() - started) / 60:.1f} minutes on {torch.get_num_threads()} threads")
    for templates, accuracy in top_1("embedded", options.data_root).items():
        print(f"top-1 on all 10,000 test images, templates {templates}: {100 * accuracy:.2f} %")


if __name__ == "__main__":
    main()
