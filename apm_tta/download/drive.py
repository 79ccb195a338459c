"""Fetch a file of Google Drive through ``gdown``, which gets past Drive's page that asks whether one is sure."""

from __future__ import annotations

import shutil
from pathlib import Path

from apm_tta.download.transfer import MAKE_SPACE, Persistence, Refused, Told, Wanted
from apm_tta.errors import describe_error
from apm_tta.system.files import unwritable

_HOSTS = ("https://drive.google.com/", "https://docs.google.com/")


def is_of_drive(address: str) -> bool:
    """Return whether an address is one of Google Drive."""
    return address.startswith(_HOSTS)


def fetch_from_drive(address: str, folder: Path, wanted: Wanted, told: Told, persistence: Persistence) -> Path:
    """Fetch the file at ``address``, and go on from an earlier attempt where a digest tells later if that was right.

    ``gdown`` keeps no validator between two processes, so that without a digest nobody would notice a file that has
    changed meanwhile: then it begins anew. Within one process it goes on in any case.

    Args:
        address: of the file.
        folder: for what has come; the same one at the next attempt.
        wanted: what is known of the file.
        told: of the progress.
        persistence: how long to try.

    Returns:
        Where the file lies in ``folder``.

    Raises:
        Refused: when Drive does not give it.
        UserError: when there is no room for it.
    """
    import gdown
    import requests
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    place = folder / "drive"
    if not wanted.digest_known:
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(exist_ok=True)
    file = place / "file"
    try:
        gdown.download(
            address,
            str(file),
            quiet=True,
            use_cookies=False,  # those of a person's browser are no part of a public file
            resume=True,
            progress=told,
            timeout=persistence.timeout_s,
            retries=persistence.retries,
        )
    except FileURLRetrievalError:
        raise Refused("Google Drive does not give it: it is not public, or was fetched too often today") from None
    except (DownloadError, requests.RequestException) as error:
        raise Refused(f"Google Drive broke off ({describe_error(error)})") from None
    except OSError as error:
        raise unwritable(file, error, MAKE_SPACE) from None
    return file
