"""Make ``docs/streams.md``: the settings of streams, and what online methods gain or lose when classes come in bouts.

``python docs/streams.py`` runs the embedded set in several settings, with every method of ``--methods fast``, and
writes the page and ``docs/streams.csv``, from which a test makes the page again. With names of settings behind it, only
these are measured again, and the others keep their numbers.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from apm_tta.cli import main
from apm_tta.methods import METHODS

PAGE, NUMBERS = Path(__file__).parent / "streams.md", Path(__file__).parent / "streams.csv"
SETTINGS = {
    "iid": "independent",
    "dirichlet": "Dirichlet, 0.1",
    "correlated": "sorted by class",
}
"""Settings of the table, from no correlation of neighbours to the most, with their headers."""

WORDS = ["demo", "--teacher", "embedded-resnet", "--methods", "fast", "--limit", "300", "--severities", "5", "--quiet"]
HEAD = f"""# Streams decide conclusions

`--setting` names the order in which online methods see the images; every draw is of the seed. Each is a file in
`apm_tta/harness/streams/`, whose docstring says where it is from; `run-bench list settings`
prints them with their options.

| setting | stream | reset by default |
|---|---|---|
| `iid` | each condition shuffled | `corruption` |
| `continual` | the same, methods keep what they learned of the conditions before | `dataset` |
| `mixed` | all conditions shuffled together | `dataset` |
| `correlated` | each condition sorted by class | `corruption` |
| `dirichlet --gamma G` | classes come in bouts: RoTTA's draw; the smaller G, the longer (0.1) | `corruption` |
| `few-classes --classes-per-batch K` | batches of at most K classes, drawn anew for each (4) | `corruption` |
| `gradual` | corruption by corruption, severities rise and fall: 1 2 3 4 5 4 3 2 1 | `never` |
| `stored` | each condition in the set's own order, for sets that are streams themselves | `corruption` |

`--reset corruption`, `dataset` (corruptions of one severity) or `never` says where methods begin again; `--reset N` is
after every N steps, in one stream over all conditions. A step is a batch; of a method that takes images one by one, an
image. With `--window N` images come one by one: a method that takes batches sees the last N of them, takes a step, and
its answer to the newest one counts. Setting, parameters, window and N are in the caption and in the column `setting`.

A stream may show an image several times, as `gradual` does. Then the records have its `position` in the stream, which
with the id is a row's key; n counts showings, and the table has a column for the different images. Answers are paired
showing by showing: the k-th of an image with its k-th, and an episodic answer with all of them. What is drawn in an
interval, and flipped in a test, is an image with all of its showings: images are taken to be independent of each
other, showings of one image are not. Top-1's interval is Wilson's for as many independent answers as have the same
variance over images.

## CCC

`run-bench ccc` reads the streams of CCC ([RDumb](https://arxiv.org/abs/2306.05401)) from their shards, each stream a
domain that is named like its folder, in the order in which they lie:

    run-bench get ccc --data-root /data --only 'CCC/baseline_20_transition+speed_1000_seed_44/serial_0000*.tar'
    run-bench ccc --data-root /data --domains baseline_20_transition_speed_1000_seed_44 --methods zeroshot,rdumb

A stream has 7.5 million images in 300 shards of about half a gigabyte; those from `serial_00000.tar` on are enough, and
n is in the table. A key is unique within its shard only, so that an image's id is folder, shard and key. Its authors
drew each shard's images anew from ImageNet's 50,000: a whole stream shows every photograph some 150 times, under other
corruptions. Intervals take images to be independent, and are too narrow for that.

A setting of your own is a class in a file of your package, found by an entry point in the group `apm_tta.settings`:

```python
from typing import Annotated

from pydantic import Field

from apm_tta.harness.streams import StreamSetting, register


@register
class Backwards(StreamSetting):
    name = "backwards"
    skip: Annotated[int, Field(ge=0, le=9, description="Images that stay in front.")] = 2

    def arrange(self, entries, seed, name, batch):
        shuffled = super().arrange(entries, seed, name, batch)
        return [*shuffled[: self.skip], *reversed(shuffled[self.skip :])]
```

## What the order is worth

Made by `python docs/streams.py`: `run-bench {" ".join(WORDS[:-1])}`
in each setting. Top-1 in percent, the mean of the corruptions at severity 5; 300 images per condition, each condition
a stream of its own.

In an independent stream neighbours tell nothing of each other; in a correlated one, sorted by class, they are of one
class. A method that makes neighbours agree gains from the second and pays for it in the first; one that expects all
classes in a batch does the reverse. Between them, classes come in bouts. Episodic and transductive methods do not see
the order: their numbers are one.
"""


def measure(settings: Iterable[str]) -> pd.DataFrame:
    """Run some settings; return top-1 per method and setting."""
    rows = []
    for setting in settings:
        with tempfile.TemporaryDirectory() as folder:
            if code := main([*WORDS, "--setting", setting, "--out", str(Path(folder) / "run")]):
                raise SystemExit(code)
            results = pd.read_csv(Path(folder) / "run" / "results.csv")
        corrupted = results[results["corruption"] != "clean"]
        for method, own in corrupted.groupby("method", sort=False):
            rows.append({"method": method, "setting": setting, "top1": own["top1"].mean()})
    return pd.DataFrame(rows)


def page(numbers: pd.DataFrame) -> str:
    """Return the page: one row per method, the largest gain from sorting first."""
    table = numbers.pivot_table(index="method", columns="setting", values="top1")
    table["change"] = table["correlated"] - table["iid"]
    lines = [
        f"| method | protocol | {' | '.join(SETTINGS.values())} | change |",
        f"|---|---|{'---:|' * (len(SETTINGS) + 1)}",
    ]
    for method, row in table.sort_values(["change", "iid"], ascending=False).iterrows():
        protocol = METHODS.get(str(method)).protocol
        cells = " | ".join(f"{row[setting]:.1f}" for setting in SETTINGS)
        lines.append(f"| {method} | {protocol} | {cells} | {row['change']:+.1f} |")
    return f"{HEAD}\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(SETTINGS)
    measured, known = measure(chosen), pd.read_csv(NUMBERS)
    kept = known[~known["setting"].isin(chosen)]
    pd.concat([kept, measured]).to_csv(NUMBERS, index=False, float_format="%.4f")
    PAGE.write_text(page(pd.read_csv(NUMBERS)), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
