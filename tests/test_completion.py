"""Names are completed by a real shell, and known without importing what they name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typed import command_folder, completed_lines

from apm_tta import known_names
from apm_tta.methods import METHODS
from apm_tta.resources import DATASETS, SUITES, yaml_names
from apm_tta.teachers import teacher_names
from apm_tta.teachers.embedded import FOLDERS

HEAVY = ["torch", "numpy", "pandas", "open_clip", "timm", "matplotlib", "brand_new"]
"""None of them is imported for an answer, which takes a quarter of a second without them and many with them."""

SETUP = {
    "bash": "PS1=; bind 'set bell-style none'; " + 'eval "$(_RUN_BENCH_COMPLETE=bash_source run-bench)"',
    "zsh": "PS1=; autoload -U compinit; compinit -u -D; " + 'eval "$(_RUN_BENCH_COMPLETE=zsh_source run-bench)"',
}
SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"]}

BEGUN = {
    "run-bench dem": "run-bench demo",
    "run-bench demo --methods zeroshot,ten": "run-bench demo --methods zeroshot,tent",
    "run-bench demo --methods brand": "run-bench demo --methods brand-new",
    "run-bench demo --teacher embedded-r": "run-bench demo --teacher embedded-resnet",
    "run-bench demo --teacher ViT-B-16:opena": "run-bench demo --teacher ViT-B-16:openai",
    "run-bench islands x.png --teacher=ViT-B-16:opena": "run-bench islands x.png --teacher=ViT-B-16:openai",
    "run-bench check imagenet-sk": "run-bench check imagenet-sketch",
    "run-bench demo --dataset fashion": "run-bench demo --dataset fashion-mnist",
    "run-bench list teach": "run-bench list teachers",
    "run-bench demo --setting cont": "run-bench demo --setting continual",
    "run-bench report REA": "run-bench report README.md",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return that of a shell that finds the command, and of an installed package whose method cannot be imported."""
    (tmp_path / "brand_new.py").write_text("raise ImportError('a name needs no import')")
    information = tmp_path / "brand_new-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: brand-new\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[apm_tta.methods]\nbrand-new = brand_new:Method\n")
    commands = tmp_path / "commands"
    commands.mkdir()
    path = f"{command_folder(commands, sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path), "TERM": "dumb", "HOME": str(tmp_path)}


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_press_of_tab_completes_every_kind_of_name(
    shell: str, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "README.md").touch()
    monkeypatch.chdir(tmp_path)
    found = completed_lines(SHELLS[shell], SETUP[shell], list(BEGUN), environment)
    assert dict(zip(BEGUN, map(str.rstrip, found), strict=True)) == BEGUN


PROCESS = """
import json, sys
from apm_tta.cli import main
code = main([])
print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]), file=sys.stderr)
sys.exit(code)
"""


def answer(environment: dict[str, str], *words: str) -> tuple[int, list[str], str]:
    """Return exit code, completions and errors of one Tab behind the words, as bash asks for them."""
    asked = {"_RUN_BENCH_COMPLETE": "bash_complete", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-c", PROCESS, json.dumps(HEAVY)]
    done = subprocess.run(command, env={**environment, **asked}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run-bench", "demo", "--methods", "apm,t"], {"plain,apm,tent", "plain,apm,tpt"}),
        (["run-bench", "demo", "--teacher", ""], {"plain,embedded", "plain,ViT-B-16:openai"}),
        (
            ["run-bench", "demo", "--teacher", "timm", ":", "vit_base_patch14_d"],
            {"plain,vit_base_patch14_dinov2.lvd142m"},
        ),
        (["run-bench", "check", ""], {"plain,fashion-mnist"}),
        (["run-bench", ""], {"plain,demo", "plain,list"}),
    ],
)
def test_an_answer_imports_nothing_that_takes_long(
    words: list[str], expected: set[str], environment: dict[str, str]
) -> None:
    code, found, errors = answer(environment, *words)
    assert code == 0
    assert expected <= set(found)
    assert errors.strip() == "[]"


def test_a_name_is_not_offered_twice(environment: dict[str, str]) -> None:
    assert answer(environment, "run-bench", "demo", "--methods", "tent,ten")[1] == []


def test_a_command_that_does_not_exist_says_nothing_into_the_line_that_is_typed(environment: dict[str, str]) -> None:
    assert answer(environment, "run-bench", "dmo", "--teacher", "x") == (0, [], "[]\n")


def test_known_names_are_those_of_the_registries() -> None:
    assert known_names.suite_names() == yaml_names(SUITES)
    assert known_names.dataset_names() == yaml_names(DATASETS)
    assert known_names.method_names() == METHODS.names()
    teachers, released = known_names.teacher_names(), teacher_names()
    assert set(FOLDERS) <= set(teachers)
    assert len(teachers) == len(set(teachers))
    for kind in (lambda name: name.startswith("timm:"), lambda name: not name.startswith("timm:")):
        known, right = set(filter(kind, teachers)), set(filter(kind, released))
        # What a library makes in a loop is not read there, and what it has no weights for is.
        assert len(known & right) >= 0.75 * len(right)
        assert len(known & right) >= 0.98 * len(known)
