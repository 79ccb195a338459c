"""One rule decides below which folder to look for a data set."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from apm_tta.cli import main
from apm_tta.data.cards import card_names, load_card
from apm_tta.data.check import check, overview, presence
from apm_tta.data.data_root import VARIABLE, resolve_data_root
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.layouts import LAYOUTS
from apm_tta.errors import UnknownName

GIVEN, NAMED = Path("/given"), Path("/named")


@pytest.mark.parametrize(
    ("given", "environment", "expected", "expected_of_carried"),
    [
        (None, None, None, None),
        (None, "", None, None),
        (None, str(NAMED), NAMED, None),
        (GIVEN, None, GIVEN, GIVEN),
        (GIVEN, "", GIVEN, GIVEN),
        (GIVEN, str(NAMED), GIVEN, GIVEN),
    ],
)
def test_an_explicit_root_takes_precedence_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    given: Path | None,
    environment: str | None,
    expected: Path | None,
    expected_of_carried: Path | None,
) -> None:
    """An explicit root for a carried data set is kept, so that it can be refused; the environment is ignored for it."""
    if environment is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, environment)
    for card in map(load_card, card_names()):
        carried = LAYOUTS.get(card.layout).carried
        assert resolve_data_root(card, given) == (expected_of_carried if carried else expected)


def test_a_card_of_an_unknown_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(NAMED))
    with pytest.raises(UnknownName, match="unknown layout 'tarball'"):
        resolve_data_root(load_card("folder").model_copy(update={"layout": "tarball"}), None)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert main(["check", "objectnet"]) == 1
    assert "no folder given: use --data-root FOLDER, or set APM_TTA_DATA_ROOT" in capsys.readouterr().out
    assert main(["list", "datasets"]) == 0
    assert "  needs --data-root  " in capsys.readouterr().out


def test_the_list_uses_the_folder_in_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, adversarial: Any
) -> None:
    """The command line takes precedence, if it names a folder."""
    monkeypatch.setenv(VARIABLE, str(adversarial.root))
    assert main(["list", "datasets"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "  found  " in lines["imagenet-a"]
    assert "  carried  " in lines["fashion-mnist"]
    (tmp_path / "empty").mkdir()
    assert main(["list", "datasets", "--data-root", str(tmp_path / "empty")]) == 0
    assert "  found  " not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "list"])
def test_help_names_the_variable(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "also from APM_TTA_DATA_ROOT." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "function",
    [Dataset, open_dataset, check, presence, overview, *(LAYOUTS.get(name) for name in LAYOUTS.names())],
    ids=lambda function: function.__name__,
)
def test_the_data_root_has_the_same_name_everywhere(function: Any) -> None:
    """From the option to the layout, which finds the folder where the tree starts."""
    names = list(inspect.signature(function).parameters)
    assert "data_root" in names
    assert not {"root", "folder", "start", "place"} & set(names)
