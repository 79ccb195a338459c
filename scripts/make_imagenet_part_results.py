"""Make ``results/imagenet-part/``: ``python scripts/make_imagenet_part_results.py --data-root FOLDER --weights FILE``.

Real photographs: 250 images of ImageNet's validation set, one of a class, and timm's ``tf_efficientnet_lite0``. The
images may be used to check programs, not be passed on, so tables are kept and no picture. Stopped, it goes on where it
was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from results_folders import TABLES, Part, run_parts

FOLDER = Path(__file__).resolve().parent.parent / "results" / "imagenet-part"
FIVE = "gaussian_noise,defocus_blur,contrast,pixelate,jpeg_compression"
STREAMS = ("zeroshot", "norm", "tent", "sar", "tda[views=1]")
"""TDA without the 64 views that its authors take on ImageNet: with them, all corruptions would take days."""
VIEWS = ("zeroshot", "vte", "zero", "mta", "tps")
SLOW = ("zeroshot", "memo", "apm")
VIEW_IMAGES, SLOW_IMAGES = 50, 10
"""Take so many of the 250: all of them would take hours on two cores."""


def parts(data_root: Path, weights: Path) -> list[Part]:
    """Return the runs: methods without views under all corruptions, those with views under five, on fewer."""
    words = ("imagenet-c-online", "--dataset", "imagenet-part", "--data-root", str(data_root), "--severities", "3")
    common = (*words, "--teacher", f"timm:tf_efficientnet_lite0:{weights}")
    few = (*common, "--corruptions", FIVE, "--methods")
    return [
        Part("streams", (*common, "--methods", ",".join(STREAMS))),
        Part(f"views-{VIEW_IMAGES}-images", (*few, ",".join(VIEWS), "--limit", str(VIEW_IMAGES))),
        Part(f"slow-{SLOW_IMAGES}-images", (*few, ",".join(SLOW), "--limit", str(SLOW_IMAGES))),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with the 250 synset folders")
    parser.add_argument("--weights", type=Path, required=True, help="tf_efficientnet_lite0.safetensors")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs, which are resumed")
    options = parser.parse_args()
    # Tables name data and teacher as requested: by their names in the folder of the runs, not by where they lie.
    options.work.mkdir(parents=True, exist_ok=True)
    for name, target in (("imagenet-val", options.data_root), (options.weights.name, options.weights)):
        link = options.work / name
        link.unlink(missing_ok=True)
        link.symlink_to(target.resolve())
    sys.exit(run_parts(parts(Path("imagenet-val"), Path(options.weights.name)), options.work, FOLDER, TABLES))
