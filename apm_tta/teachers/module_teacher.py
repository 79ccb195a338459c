"""Any network of one's own, from a function that makes it: ``module:my_package.nets:make``."""

from __future__ import annotations

import copy
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from apm_tta.errors import UserError, describe_error
from apm_tta.sources.graph_digest import Undigestible, graph_digest
from apm_tta.sources.installed_files import installed_files, note_installed
from apm_tta.sources.object_parts import leaf, parts
from apm_tta.teachers.base import FAMILIES, Source, runs_code
from apm_tta.teachers.classifier_teacher import Classified, classifier_source
from apm_tta.teachers.head_labels import HeadLabels
from apm_tta.teachers.measured_preprocessing import evaluation_transform, measure_preprocessing, measure_region
from apm_tta.teachers.network_teacher import weights_digest
from apm_tta.teachers.preprocessing import Preprocessing

_PREFIX = "module:"
_FORM = f"{_PREFIX}PACKAGE.FILE:FUNCTION"
_RETURNED = "return (network, class names, preprocessing), as load_teacher takes them"


@FAMILIES.register("module")
@runs_code
def module_source(name: str, classifier: str) -> Source:
    """Import a module, call its function, and make a teacher of the network, class names and preprocessing returned.

    The module is looked for where Python finds modules, then in the current folder. Its code is part of the teacher's
    identity, as a user-defined method's is of a run's.

    Raises:
        UserError: when there is no such function, or it fails, or returns something else. Exit code 2.
    """
    module, _, attribute = name.removeprefix(_PREFIX).partition(":")
    if not module or not attribute.isidentifier():
        raise UserError(f"teacher {name!r} names no function; write {_FORM}", exit_code=2)
    make = _function(name, module, attribute)
    network, classes, preprocessing = _made(name, make)
    if isinstance(preprocessing, Preprocessing):
        known, transform = preprocessing, evaluation_transform(preprocessing)
    else:
        known, transform = measure_preprocessing(preprocessing), preprocessing
    identity = {
        "weights_sha256": weights_digest(network),
        "architecture": f"{type(network).__module__}.{type(network).__qualname__}",
        "preprocessing": json.dumps({**asdict(known), "region": measure_region(transform, known)}, sort_keys=True),
        "code": _code(name, make, type(network)),
    }
    labels = HeadLabels.of(len(classes), classes, None)
    found = Classified(identity, labels, known, transform, lambda: copy.deepcopy(network))
    return classifier_source(name, classifier, found)


def _function(name: str, module: str, attribute: str) -> Any:
    try:
        with _current_folder():
            found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:
        raise UserError(f"module {module} of teacher {name} cannot be imported: {describe_error(error)}", 2) from error
    if not callable(found):
        raise UserError(f"module {module} of teacher {name} has no function {attribute}", exit_code=2)
    return found


@contextmanager
def _current_folder() -> Iterator[None]:
    """Look for modules in the current folder too, after all others, as ``python -m`` would."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _made(name: str, make: Any) -> tuple[nn.Module, Sequence[str], Any]:
    try:
        returned = make()
    except Exception as error:
        raise UserError(f"the function of teacher {name} fails: {describe_error(error)}", exit_code=2) from error
    if not isinstance(returned, tuple) or len(returned) != 3:
        raise UserError(f"the function of teacher {name} returns a {type(returned).__name__}; {_RETURNED}", 2)
    network, classes, preprocessing = returned
    if not isinstance(network, nn.Module):
        raise UserError(f"the network of teacher {name} is a {type(network).__name__}; {_RETURNED}", exit_code=2)
    if isinstance(classes, str) or not all(isinstance(each, str) for each in classes):
        raise UserError(f"the class names of teacher {name} are no sequence of names; {_RETURNED}", exit_code=2)
    return network, tuple(classes), preprocessing


def _code(name: str, make: Any, kind: type) -> str:
    """State which code it is: the distribution that installed it, or the digest of all that it refers to.

    Raises:
        UserError: when something that it refers to has no content that could be compared. Exit code 2.
    """
    note_installed(make)
    if (files := installed_files(make)) is not None:
        return f"{files.distribution} {files.version}, sha256 {files.sha256}"
    try:
        digest = graph_digest((make, kind), make.__name__, leaf, parts).sha256
    except Undigestible as error:
        raise UserError(
            f"the code of teacher {name} refers to {error.path}, whose content cannot be compared between runs "
            f"({error.reason}): create it within the function",
            exit_code=2,
        ) from error
    return f"Python {'.'.join(map(str, sys.version_info[:2]))}, sha256 {digest}"
