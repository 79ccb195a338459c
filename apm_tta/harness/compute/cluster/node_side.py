"""What a node does before it imports this package, of which it may have another version or none.

Ray sends these functions with their code. They use nothing that such a node lacks: of this package only what they
import themselves, and of their arguments plain values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def examine(sha256: str, job: list[Any], own_root: bool) -> tuple[list[str], int | None]:
    """Ask this node whether it can compute a run.

    Args:
        sha256: of the package's files where the run was asked for.
        job: a reference to it; see ``fetched``.
        own_root: see ``on_node.unpacked``.

    Returns:
        What differs from where the run was asked for, and the bytes of this node's smallest GPU; None without one.
    """
    import subprocess

    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        # Not by torch: it would see these GPUs for good, and a later task has its own.
        said = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
        smallest = min(int(line) * 2**20 for line in said.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        smallest = None
    try:
        import_same(sha256)
    except ImportError as error:
        return [str(error)], smallest
    from apm_tta.harness.compute.cluster.on_node import data_differences

    return data_differences(fetched(job), own_root), smallest


def compute(
    sha256: str,
    digest: str,
    job: list[Any],
    work: list[Any],
    own_root: bool,
    asked: frozenset[str],
    cores: int,
    gpus: float,
) -> Iterator[Any]:
    """Compute a unit of work: yield the name of this node and its id, then lists of events; the last one is the result.

    Args:
        sha256: see ``examine``.
        digest: of the job.
        job: a reference to it; see ``fetched``.
        work: likewise, the unit and its checkpoint, pickled.
        own_root: see ``examine``.
        asked: ids of the nodes that were examined; one that joined later is examined here.
        cores: of this task.
        gpus: likewise.

    Raises:
        ImportError: when this node has another version of the package, or none.
        OtherNumbers: when it would compute other numbers, naming what differs.
    """
    import socket

    import ray

    node = ray.get_runtime_context().get_node_id()
    yield socket.gethostname(), node
    import_same(sha256)
    from apm_tta.harness.compute.cluster.on_node import events_of, holds, refuse_other_data

    packed = None if holds(digest) else fetched(job)
    if packed is not None and node not in asked:
        refuse_other_data(packed, own_root)
    yield from events_of(digest, packed, fetched(work), own_root, cores, gpus)


def fetched(sent: list[Any]) -> bytes:
    """Return what the only item of a list refers to.

    A reference that is itself an argument is resolved before its task has a worker, and what it refers to stays pinned
    on the node: Ray counts it there for good when the driver is killed meanwhile, so that after as much as seven tenths
    of the object store no task of any driver begins (Ray 2.60). One in a list is resolved by the worker.
    """
    import ray

    content: bytes = ray.get(sent[0])
    return content


def import_same(sha256: str) -> None:
    """Import the package.

    Raises:
        ImportError: when its files are not those with this SHA-256.
    """
    try:
        from apm_tta.harness.storage.code_identity import source_sha256

        found = source_sha256()
    except Exception as error:
        raise ImportError(f"it cannot import this package ({type(error).__name__}: {error})") from error
    if found != sha256:
        raise ImportError(f"it has another version of this package (SHA-256 {found[:12]}..., here {sha256[:12]}...)")
