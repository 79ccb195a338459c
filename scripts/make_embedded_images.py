"""Write the embedded images: ``python scripts/make_embedded_images.py``.

They are the first 200 images of each class among Fashion-MNIST's 10,000 test images, in the published file's order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from apm_tta.data.embedded import IMAGES_FILE
from apm_tta.data.fashion_mnist import DEBIAN_FOLDER, load_split

IMAGES_PER_CLASS = 200


def main() -> None:
    """Select the images and write the archive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=DEBIAN_FOLDER, help="folder with the four idx files")
    images, labels = load_split(parser.parse_args().data_root, "test")
    chosen = np.sort(
        np.concatenate([np.flatnonzero(labels == label)[:IMAGES_PER_CLASS] for label in np.unique(labels)])
    )
    arrays = {"images": images[chosen], "labels": labels[chosen], "positions": chosen.astype(np.uint16)}
    np.savez_compressed(IMAGES_FILE, allow_pickle=False, **arrays)
    print(f"{len(chosen)} images of {len(np.unique(labels))} classes in {IMAGES_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
