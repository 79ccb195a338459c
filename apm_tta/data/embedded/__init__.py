"""2,000 Fashion-MNIST test images that the package carries, and the script that picked them."""

from __future__ import annotations

from pathlib import Path

IMAGES_FILE = Path(__file__).parent / "fashion_mnist.npz"
