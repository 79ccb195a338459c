"""Ask Hugging Face, through ``huggingface_hub``, which files there are, and where, how large, by which digest.

It knows endpoints, tokens and terms. The bytes come as from every other server (``apm_tta.download.http``): version 2.4
fetches into a file of a random name, and begins anew after a kill.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from apm_tta.data.downloads import Download
from apm_tta.download.transfer import NeedsPerson, Refused
from apm_tta.errors import describe_error

_SITE = "https://huggingface.co/datasets/"
_FILE = re.compile(re.escape(_SITE) + r"(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>[^?]+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORY = re.compile(r"hf://datasets/(?P<repository>[^/]+/[^/@]+)")


def is_of_hub(address: str) -> bool:
    """Return whether an address is that of one file of a data set on Hugging Face."""
    return _FILE.fullmatch(address) is not None


@dataclass(frozen=True)
class OnHub:
    """What the hub says of one file.

    Attributes:
        address: from which it comes, of one revision: a later one has another address.
        headers: that show who asks.
        bytes: its size.
        sha256: its digest; empty for the small files of which the hub has none.
    """

    address: str
    headers: dict[str, str]
    bytes: int | None
    sha256: str


def ask_hub(address: str) -> OnHub:
    """Ask the hub where the file at ``address`` lies.

    Raises:
        NeedsPerson: when somebody has to accept terms first.
        Refused: when the hub does not give it.
    """
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

    found = _FILE.fullmatch(address)
    assert found is not None
    repository, path = found["repository"], found["path"]
    with _in_our_words(repository):
        token = get_token()
        url = hf_hub_url(repository, path, repo_type="dataset", revision=found["revision"])
        known = get_hf_file_metadata(url, token=token)
        pinned = hf_hub_url(repository, path, repo_type="dataset", revision=known.commit_hash or found["revision"])
        sha256 = known.etag if known.etag and _SHA256.fullmatch(known.etag) else ""
        return OnHub(pinned, {"Authorization": f"Bearer {token}"} if token else {}, known.size, sha256)


def files_of_repository(download: Download) -> list[Download]:
    """Ask the hub which files a repository has, each with its size, and with its digest where the hub has one.

    Args:
        download: whose address is that of a whole repository, and whose name is a pattern.

    Raises:
        NeedsPerson: when somebody has to accept terms first.
        Refused: when the hub does not say.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    found = _REPOSITORY.fullmatch(download.addresses[0])
    if found is None:
        raise Refused("it is not of the form hf://datasets/OWNER/NAME")
    repository = found["repository"]
    with _in_our_words(repository):
        # One revision for all: files of two must not be mixed where it changes meanwhile.
        revision = HfApi().dataset_info(repository).sha
        listed = HfApi().list_repo_tree(repository, recursive=True, repo_type="dataset", revision=revision)
        files = [item for item in listed if isinstance(item, RepoFile) and fnmatch.fnmatch(item.path, download.name)]
    by = f"the hub's list of {repository}"
    return [
        download.model_copy(
            update={
                "name": file.path,
                "addresses": (f"{_SITE}{repository}/resolve/{revision}/{file.path}",),
                "bytes": file.size,
                "digests": {f"sha256:{file.lfs.sha256}": by} if file.lfs else {},
                "stated_by": by,
            }
        )
        for file in files
    ]


@contextmanager
def _in_our_words(repository: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise NeedsPerson(
            f"log in at https://huggingface.co, accept the terms at {_SITE}{repository}, make a token at "
            "https://huggingface.co/settings/tokens, and give it to: hf auth login"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise Refused("the hub cannot be reached") from None
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.RevisionNotFoundError):
        raise Refused("the hub does not have it, or only for those who have logged in") from None
    except Exception as error:  # of whichever library it asks through: httpx2, httpx and requests by its version
        raise Refused(f"the hub does not give it ({describe_error(error)})") from None
