"""The connection to a Ray cluster, which may be one that is started here for this run alone."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from apm_tta.errors import UserError
from apm_tta.harness.compute.cluster.shipped import shipped_package
from apm_tta.system.cores import usable_cores
from apm_tta.system.standard_streams import errors_dropped
from apm_tta.system.stop_signals import Stopped, handlers_kept

LOCAL = "local"
_CLIENT = "ray://"
_CONNECT_S = 5.0
_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's own next default; it warns otherwise
    # One attempt at a cluster, of half a minute in all; left to itself Ray tries 20 times.
    "RAY_NUM_REDIS_GET_RETRIES": "1",
    "RAY_py_gcs_connect_timeout_s": "15",
}
_OBJECT_STORE_BYTES = 200_000_000
"""Of a Ray that is started here: what waits in it are records of single shards."""
FOLDER = "apm-tta-ray-"
"""Beginning of the name of a folder with the session of a Ray that is started here."""
_LONGEST_ROOT = 40
"""Characters: Ray's sockets lie 65 below it, and the path of a socket has at most 107."""


@contextmanager
def connected(address: str, ship: bool) -> Iterator[Any]:
    """Connect to a cluster within the block, and yield Ray's module.

    A Ray that this process is connected to already is used as it is, and stays: it is the user's.

    Args:
        address: of the cluster, ``auto``, or ``local`` to start one on this machine that ends with the block.
        ship: whether its workers use this package as it is here; see ``shipped_package``.

    Raises:
        UserError: when Ray is not installed, or no cluster replies.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray as module
    except ModuleNotFoundError:
        raise UserError("engine ray needs Ray: python -m pip install 'apm-tta[ray]'") from None
    if module.is_initialized():
        if ship:
            raise UserError("this process is connected to Ray already; call ray.shutdown(), or leave --ship out", 2)
        yield module
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    with ExitStack() as stack:
        if ship:
            options["runtime_env"] = {"py_modules": stack.enter_context(shipped_package())}
        if address == LOCAL:
            own = stack.enter_context(_session_folder())
            options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES, "_temp_dir": str(own)}
            options["num_cpus"] = usable_cores()  # Ray would count those that a batch job may not use
        else:
            options["address"] = address
        stack.enter_context(_messages_logged(module))
        stack.callback(module.shutdown)
        _connect(module, address, options)
        yield module


@contextmanager
def _messages_logged(module: Any) -> Iterator[None]:
    """Log what Ray says of lost nodes and workers within the block: it prints pages of it to the standard output.

    There is no setting for it. The engine has a line for each.
    """
    internal = module._private.worker
    printed = getattr(internal, "print_to_stdstream", None)
    internal.print_to_stdstream = lambda data, **_how: logging.getLogger("ray").info("%s", "".join(data["lines"]))
    try:
        yield
    finally:
        internal.print_to_stdstream = printed


def _connect(module: Any, address: str, options: dict[str, Any]) -> None:
    try:
        # Ray sets its own handlers, and prints each of its attempts.
        with handlers_kept(), errors_dropped():
            if address != LOCAL:
                _refuse_closed_port(address)
            module.init(**options)
    except SystemExit:  # of its handler
        raise Stopped(signal.SIGTERM) from None
    except Exception as error:  # of a node that does not start in time Ray raises no narrower class
        reason = " ".join(str(error).split())
        if address == LOCAL:
            raise UserError(f"Ray does not start here ({reason})", passing=True) from None
        raise UserError(f"no Ray cluster at {address} ({reason}); start one, or give --ray local") from None


def _refuse_closed_port(address: str) -> None:
    """Find out at once where nobody listens; Ray tries for as long as it waits for a cluster that is busy.

    Raises:
        OSError: when no connection to the address can be made.
        ValueError: for an address of Ray's client, over which events do not arrive while a task runs.
    """
    if address.startswith(_CLIENT):
        raise ValueError("a client's address; name host:6379, or run the command on a node with --ray auto")
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()


@contextmanager
def _session_folder() -> Iterator[Path]:
    """Make a folder for Ray's session, and remove it with the block; also what killed runs left of theirs.

    A folder is locked for as long as its run lives: the system unlocks what belongs to a process that is killed.
    """
    root = Path(tempfile.gettempdir())
    if len(str(root)) > _LONGEST_ROOT:
        root = Path("/tmp")
    for left in root.glob(f"{FOLDER}*"):
        if (lock := _locked(left)) is not None:
            _remove(left, lock)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=root))
        if (lock := _locked(folder)) is not None:  # else another run took it for one that was left, just now
            break
    try:
        yield folder
    finally:
        _remove(folder, lock)


def _locked(folder: Path) -> int | None:
    """Lock a folder of this user; None where it is somebody else's, or in use, or gone."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_uid == os.getuid() and folder.exists():
            return lock
    os.close(lock)
    return None


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
