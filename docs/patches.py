"""Make ``docs/patches.md`` and ``docs/patches.png``: costs of the APM and of ViT-B/16 by patches and chunk.

``python docs/patches.py measure [--device cuda]`` counts and measures on this machine and writes ``docs/patches.csv``;
``python docs/patches.py`` makes the page and the chart from that alone. A test compares the committed page with its
output.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import timm
import torch
from tabulate import tabulate
from torch import Tensor, nn

from apm_tta.apm import APM, APMConfig, DistillConfig
from apm_tta.apm.flops import flops_per_iteration
from apm_tta.harness.compute.measure import count_flops, peak_memory

COSTS, PAGE, CHART = (Path(__file__).with_name(f"patches.{suffix}") for suffix in ("csv", "md", "png"))
FIELD, ENCODER, LARGE_ENCODER = "APM", "ViT-B/16 at 224 px", "ViT-B/16 at 512 px"
PATCHES = (1, 4, 16, 49, 64, 98, 196, 256, 512, 1024)
CHUNKS = (1, 16, 64, 256)
# Every patch of ViT-B/16's image and every location of the published APM: what the page compares in words.
WHOLE = (196, 1024)
# The ways of querying the patches that the page compares, by chunk: 0 is all at once, None the ViT.
WAYS = {"all at once": 0, "64 at a time": 64, "16 at a time": 16, "1 at a time": 1, "ViT-B/16": None}
# What the page and the chart compare: name, field of ``Cost``, unit.
QUANTITIES = (("FLOPs", "gflop", "GFLOP"), ("Time", "seconds", "s"), ("Peak memory", "peak_mb", "MB"))
ROUNDS = 7


@dataclass(frozen=True)
class Cost:
    """One forward pass, without gradients.

    Attributes:
        model: ``APM``, or ViT-B/16 at one size of image.
        patches: locations that are answered, or patch tokens that go through the blocks.
        chunk: patches at once; all of them where it equals ``patches``.
        gflop: 10^9 floating-point operations, two per multiplication and addition.
        seconds: median over ``ROUNDS``.
        peak_mb: peak memory of the tensors that the pass held, in 10^6 bytes, without the weights and the image.
        weights_mb: 10^6 bytes of all the model's parameters.
        device: the device on which it was measured.
    """

    model: str
    patches: int
    chunk: int
    gflop: float
    seconds: float
    peak_mb: float
    weights_mb: float
    device: str


def build(model: str, device: torch.device) -> tuple[nn.Module, Tensor]:
    """Build the model with random weights, on which no cost depends, and an image ``(1, 3, S, S)`` of its size."""
    size = {FIELD: APMConfig().image_size, ENCODER: 224, LARGE_ENCODER: 512}[model]
    image = torch.randn(1, 3, size, size, device=device)
    if model == FIELD:
        return APM(APMConfig()).to(device), image
    encoder = timm.create_model("vit_base_patch16_224", pretrained=False, img_size=size, num_classes=0)
    return encoder.to(device).eval(), image


@torch.no_grad()
def forward(model: nn.Module, image: Tensor, patches: int, chunk: int) -> Tensor:
    """Compute features ``(1, patches, F)`` of patches in a shuffled order that is always the same.

    The APM's column is computed once. The ViT embeds every patch, drops all but ``patches`` of them as masked
    autoencoders and FLIP do, and its class token goes through the blocks as well: ``(1, 1 + patches, F)``.
    """
    encoder: Any = model
    everywhere = model.config.grid**2 if isinstance(model, APM) else encoder.patch_embed.num_patches
    kept = torch.randperm(everywhere, generator=torch.Generator().manual_seed(0))[:patches].to(image.device)
    if isinstance(model, APM):
        return model.query(model.column(image), kept, chunk)
    tokens = (encoder.patch_embed(image) + encoder.pos_embed[:, 1:])[:, kept]
    tokens = torch.cat([encoder.cls_token + encoder.pos_embed[:, :1], tokens], 1)
    return torch.as_tensor(encoder.norm(encoder.blocks(tokens)))


def configurations() -> list[tuple[str, int, int]]:
    """Return ``(model, patches, chunk)`` of every row; a ViT's attention needs all its patches at once."""
    rows = [(FIELD, patches, chunk) for patches in PATCHES for chunk in (*CHUNKS, patches) if chunk <= patches]
    whole = [(ENCODER if patches <= WHOLE[0] else LARGE_ENCODER, patches, patches) for patches in PATCHES]
    return [*dict.fromkeys(rows), *whole]


def peak_megabytes(work: Callable[[], object], device: torch.device) -> float:
    """Return the peak, in 10^6 bytes, of what ``work`` itself had allocated.

    Every call of torch's allocator counts, even inside a fused operator, so that the number is exact and repeatable;
    memory that a library for products packs for itself does not count.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device) / 1e6
        with peak_memory(device) as peak_of_all:
            work()
        return (peak_of_all.megabytes or 0.0) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.NamedTemporaryFile(suffix=".json") as trace:
        profiler.export_chrome_trace(trace.name)
        events = json.loads(Path(trace.name).read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((one for one in events if one["name"] == "[memory]"), key=lambda one: float(one["ts"]))
    return float(max(itertools.accumulate(one["args"]["Bytes"] for one in changes))) / 1e6


def measure(device: torch.device) -> list[Cost]:
    """Measure every configuration in several rounds, each in a new order.

    A drift of the machine's speed then affects all configurations alike.
    """
    cpu = f"a CPU with {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    models = {name: build(name, device) for name in (FIELD, ENCODER, LARGE_ENCODER)}
    rows = configurations()
    seconds: list[list[float]] = [[] for _ in rows]
    for turn in range(ROUNDS):
        for index in torch.randperm(len(rows)).tolist():
            name, patches, chunk = rows[index]
            forward(*models[name], chunk, chunk)  # one chunk as warm-up: another model ran before
            wait_for(device)
            started = time.perf_counter()
            forward(*models[name], patches, chunk)
            wait_for(device)
            seconds[index].append(time.perf_counter() - started)
        print(f"round {turn + 1} of {ROUNDS}", flush=True)
    costs = []
    for (name, patches, chunk), taken in zip(rows, seconds, strict=True):
        work = functools.partial(forward, *models[name], patches, chunk)
        with count_flops() as counter:
            work()
        gflop, peak = counter.get_total_flops() / 1e9, peak_megabytes(work, device)
        weights = sum(parameter.nbytes for parameter in models[name][0].parameters()) / 1e6
        costs.append(Cost(name, patches, chunk, gflop, statistics.median(taken), peak, weights, where))
    return costs


def wait_for(device: torch.device) -> None:
    """Wait until all work queued on ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def page(costs: list[Cost]) -> str:
    """Return the page as Markdown."""
    (few, many), config, where = WHOLE, APMConfig(), costs[0].device
    no_gpu = " No GPU was available." if where.startswith("a CPU") else ""
    parts = [
        "# Cost by patches",
        "Made by `python docs/patches.py` from `docs/patches.csv`, which `python docs/patches.py measure` writes.",
        f"One forward pass, one image, no gradients, random weights, float32, on {where}.{no_gpu} The APM has its "
        f"published size and answers some of its {config.grid**2:,} locations ({config.image_size} px, patches of "
        f"{config.patch_size}) by `APM.query`, in a shuffled order and in chunks, its column computed once; neither "
        "global token nor colours are computed. ViT-B/16 embeds its image, keeps some of its patch tokens, as masked "
        f"autoencoders do, and passes them with the class token through all blocks: of {few} patches (224 px), or of "
        f"{many:,} (512 px) where more are needed. It has no chunks: its attention needs all at once.",
        "* FLOPs: as counted by `torch.utils.flop_counter`, two operations per multiplication and addition.\n"
        f"* Time: the median of {ROUNDS} in one process, each after a warm-up, all configurations in turn.\n"
        "* Peak memory: peak size of the tensors that the pass held, including its answers but not weights and image; "
        "exact, from every call of torch's allocator (on a GPU `torch.cuda.max_memory_allocated`), without what the "
        "library for products packs for itself, which can be more.",
        "![GFLOP, seconds and peak memory against the number of patches](patches.png)",
        f"## {few} and {many:,} patches",
        *(_table(costs, patches) for patches in WHOLE),
        *_findings(costs),
        "## The claim of fewer FLOPs and less memory",
        "The paper calls the APM efficient because it takes patches one at a time, where a transformer holds them all. "
        f"The cost of a pass of the APM as a share of the ViT's, at {few} and at {many:,} patches:",
        "\n".join(_verdict(costs, what, name) for what, name, _ in QUANTITIES),
        *_costs_outside_a_pass(costs),
    ]
    return "\n\n".join(parts) + "\n"


def cost_of(costs: list[Cost], patches: int, chunk: int | None) -> Cost:
    """Return the APM's cost with ``chunk`` locations at a time, 0 for all of them, or the ViT's for ``chunk`` None.

    Raises:
        KeyError: when no row matches.
    """
    rows = {(cost.model == FIELD, cost.patches, cost.chunk): cost for cost in costs}
    return rows[chunk is not None, patches, chunk or patches]


def _table(costs: list[Cost], patches: int) -> str:
    """Return the table of the APM, whole and in chunks, and the ViT."""
    rows = []
    for way, chunk in WAYS.items():
        cost = cost_of(costs, patches, chunk)
        values = [cost.gflop, 1000 * cost.gflop / patches, 1000 * cost.seconds, cost.peak_mb, cost.weights_mb]
        rows.append([way if chunk is None else f"APM, {way}", *(f"{value:,.1f}" for value in values)])
    headers = [f"{patches:,} patches", "GFLOP", "MFLOP per patch", "ms", "peak MB", "weights MB"]
    return tabulate(rows, headers, tablefmt="github", colalign=("left", *["right"] * 5), disable_numparse=True)


def _findings(costs: list[Cost]) -> list[str]:
    """Describe what a patch costs each model, and what a chunk costs the APM."""
    (few, many), config = WHOLE, APMConfig()
    first, whole, chunked, single = cost_of(costs, 16, 16), *(cost_of(costs, many, chunk) for chunk in (0, 16, 1))
    field, encoder = ([1000 * cost_of(costs, n, chunk).gflop / n for n in WHOLE] for chunk in (0, None))
    answers_mb = 2 * many * 4 * config.feature_dim / 1e6
    return [
        f"A patch costs the APM, all at once, {field[0]:.1f} MFLOP among {few} and {field[1]:.1f} among {many:,}; it "
        f"costs the ViT {encoder[0]:.0f} and {encoder[1]:.0f}, since the number of attention scores grows with the "
        "square of the patches. Its memory does not: the fused attention that was measured never holds all scores.",
        f"One at a time, {many:,} patches cost the APM {single.gflop / whole.gflop:.2f} times the FLOPs of all at "
        f"once, since every chunk multiplies its rows and columns, and {single.seconds / whole.seconds:.1f} times the "
        "time, since every chunk reads all weights.",
        f"In chunks of {chunked.chunk} the APM holds {first.peak_mb:.2f} MB at {first.patches} patches and "
        f"{chunked.peak_mb:.2f} MB at {many:,}, where the answers, in chunks and then concatenated, "
        f"take {answers_mb:.2f} MB; all at once it holds {whole.peak_mb:.2f} MB, the MLP's first layer being "
        f"{config.hidden[0]:,} wide.",
    ]


def _verdict(costs: list[Cost], what: str, name: str) -> str:
    """List the ways of querying the APM by whether they take less of one quantity than the ViT at ``WHOLE``."""
    verdicts: dict[str, list[str]] = {"less": [], "less at only one": [], "not less": []}
    for way, chunk in list(WAYS.items())[:-1]:
        both = {n: (cost_of(costs, n, chunk), cost_of(costs, n, None)) for n in PATCHES if n >= (chunk or 1)}
        shares = {n: getattr(field, name) / getattr(encoder, name) for n, (field, encoder) in both.items()}
        more, few = sum(shares[n] >= 1 for n in WHOLE), max((n for n in shares if shares[n] < 1), default=0)
        note = f"; less up to {few} patches" if more and few else ""
        verdicts[list(verdicts)[more]].append(f"{way} ({' and '.join(f'{shares[n]:.2f}' for n in WHOLE)}{note})")
    return f"* **{what}** " + "; ".join(f"{how}: {', '.join(ways)}" for how, ways in verdicts.items() if ways) + "."


def _costs_outside_a_pass(costs: list[Cost]) -> list[str]:
    """Describe the weights, and the fit without which an APM knows nothing about an image."""
    patches, fit = WHOLE[0], DistillConfig().iterations * flops_per_iteration(APMConfig()) / 1e9
    field, encoder = cost_of(costs, patches, 0), cost_of(costs, patches, None)
    return [
        f"The APM's weights are {field.weights_mb:.0f} MB, the ViT's {encoder.weights_mb:.0f}; with them the APM holds "
        f"{field.weights_mb + field.peak_mb:.0f} MB all at once at {patches} patches, the ViT "
        f"{encoder.weights_mb + encoder.peak_mb:.0f}.",
        "None of this is the cost of test-time training. An APM knows an image only once it has been fitted to a "
        f"teacher's embedding of it: {DistillConfig().iterations} iterations over all locations, forward and backward, "
        f"are {fit:,.0f} GFLOP, {fit / encoder.gflop:.0f} times a pass of the ViT over {patches} patches, and such a "
        "pass, with its weights, is needed as well.",
    ]


def draw(costs: list[Cost], path: Path) -> None:
    """Draw the chart as PNG: GFLOP, seconds and peak MB against patches."""
    from matplotlib.figure import Figure

    apm = [cost for cost in costs if cost.model == FIELD]
    lines = {"APM, all at once": ([cost for cost in apm if cost.chunk == cost.patches], "#0072b2", "o-")}
    for chunk, colour, marker in zip(CHUNKS[::-1], ("#56b4e9", "#009e73", "#d55e00", "#cc79a7"), "sD^v", strict=True):
        lines[f"APM, {chunk} at a time"] = [cost for cost in apm if cost.chunk == chunk], colour, f"{marker}-"
    for model, style in ((ENCODER, "X--"), (LARGE_ENCODER, "P:")):
        lines[model] = [cost for cost in costs if cost.model == model], "#000000", style
    ticks = [4**power for power in range(6)]
    figure = Figure(figsize=(12, 4.6), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(QUANTITIES))
    for panel, (what, name, unit) in zip(panels, QUANTITIES, strict=True):
        for label, (series, colour, style) in lines.items():
            points = zip(*((cost.patches, getattr(cost, name)) for cost in series), strict=True)
            panel.plot(*points, style, color=colour, linewidth=1.5, label=label)
        panel.set(xscale="log", yscale="log", title=f"{what}, {unit}", xlabel="patches")
        panel.set_xticks(ticks, [f"{patches:,}" for patches in ticks])
        panel.minorticks_off()
        panel.grid(color="#dddddd")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Software": None})


def read_costs() -> list[Cost]:
    """Read what ``measure`` wrote."""
    types = {"model": str, "device": str, "patches": int, "chunk": int}
    with COSTS.open(encoding="utf-8") as file:
        return [Cost(**{key: types.get(key, float)(text) for key, text in row.items()}) for row in csv.DictReader(file)]


def main() -> None:
    """Measure, or make the page and the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("measure").add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    if options.command == "measure":
        costs = measure(options.device)
        rows = [[f"{value:.6g}" if isinstance(value, float) else value for value in astuple(cost)] for cost in costs]
        with COSTS.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([[field.name for field in fields(Cost)], *rows])
    PAGE.write_text(page(read_costs()), encoding="utf-8")
    draw(read_costs(), CHART)


if __name__ == "__main__":
    main()
