"""The 2,000 Fashion-MNIST test images that the package carries, picked by ``scripts/make_embedded_images.py``."""

from __future__ import annotations

from pathlib import Path

IMAGES_FILE = Path(__file__).parent / "fashion_mnist.npz"
