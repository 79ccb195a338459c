"""Files of weights: their digest, and what is said of one that cannot be read as data alone."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apm_tta.errors import UserError

_TORCHSCRIPT = "constants.pkl"


def file_sha256(path: Path) -> str:
    """Of the file, as ``sha256sum`` prints it.

    Raises:
        UserError: when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def refuse_code(path: Path) -> None:
    """Refuses an archive that holds a program beside its weights (TorchScript), before anything opens it.

    Raises:
        UserError: saying what to give instead.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(Path(name).name == _TORCHSCRIPT for name in archive.namelist()):
                raise UserError(f"{path} is a TorchScript archive, which holds code; give its weights as .safetensors")


@contextmanager
def one_line_errors(name: str, path: Path | None) -> Iterator[None]:
    """What the libraries raise while weights are read becomes one line.

    Raises:
        UserError: when the block raises; for a pickle that names anything but weights, saying that it was not run.
    """
    try:
        if path is not None:
            refuse_code(path)
        yield
    except UserError:
        raise
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} holds more than weights: loading it could run code, so nothing of it was run; "
            "give weights as .safetensors, or a checkpoint that torch.load(weights_only=True) takes"
        ) from None
    except Exception as error:  # open_clip, timm, hub clients and torch raise many kinds; the reader needs one line
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"teacher {name!r} cannot be loaded: {type(error).__name__}: {reason}") from error


def _digest(path: Path) -> str:
    """For Python 3.10, which has no ``hashlib.file_digest``."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
