"""A user-defined method, from a notebook cell through runs: replaced, edited, on several devices, and on Ray."""

from __future__ import annotations

import multiprocessing
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow as pa
import pytest
import yaml
from cells import Notebook, mine
from PIL import Image
from processes import run_program

from apm_tta import UserError, load_method
from apm_tta.cli import main
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.records import read_records

pytestmark = pytest.mark.usefixtures("nothing_stays_registered")

WORDS = ["demo", "--limit", "12", "--shard-size", "4", "--corruptions", "", "--quiet"]
CELL = "GAIN = {}\ndef sharper(logits): return GAIN * logits\n@register\n" + mine(
    "return Predictions(sharper(self.logits(self.features(batch))))"
)
EDITED = "(method mine was edited, or something that it refers to)"


@pytest.fixture
def notebook() -> Notebook:
    made = Notebook()
    made.run("from apm_tta.methods import register")
    made.run(CELL.format(2))
    return made


def bench(out: Path, *words: str) -> int:
    return main([*WORDS, "--methods", "zeroshot,mine", "--out", str(out), *words])


def files(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}


def test_a_cell_that_is_run_again_resumes_its_run(notebook: Notebook, tmp_path: Path) -> None:
    """Also with the class under another name below, comments, and lines above: the same code, the same run."""
    run = tmp_path / "run"
    assert bench(run, "--shard-range", "1/2") == 0
    first = files(run)
    notebook.run("# once more\n\n\n" + CELL.format(2).replace("GAIN * logits", "GAIN * logits  # sharper"))
    assert bench(run) == 0
    assert first.items() < files(run).items()
    assert len(read_records(run)) == 24


@pytest.mark.parametrize("finished", [False, True])
def test_an_edited_method_never_continues_with_the_answers_of_another(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: bool
) -> None:
    """Interrupted or finished: another --out is asked for, in one line that names the method; back, it is the run."""
    run = tmp_path / "run"
    assert bench(run, *([] if finished else ["--shard-range", "1/2"])) == 0
    before = files(run)
    notebook.run("GAIN = 3")
    capsys.readouterr()
    assert bench(run) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{run} holds another run (revisions.sources.mine.sha256: " in said
    assert f"now {EDITED}); choose another --out, or --force-new" in said
    assert files(run) == before
    assert bench(tmp_path / "other") == 0
    notebook.run("GAIN = 2")
    assert bench(run) == 0


def test_the_manifest_states_the_code_of_ones_own_methods_alone(notebook: Notebook, tmp_path: Path) -> None:
    """A run without such a method has no new field: its folder is what it was before there was one."""
    assert bench(tmp_path / "own") == 0
    assert main([*WORDS, "--methods", "zeroshot", "--out", str(tmp_path / "package")]) == 0
    own, package = (
        yaml.safe_load((tmp_path / name / "run.yaml").read_text())["numbers"]["revisions"]
        for name in ("own", "package")
    )
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    assert own["sources"] == {
        "mine": {"distribution": None, "version": python, "sha256": own["sources"]["mine"]["sha256"]}
    }
    assert "sources" not in package
    assert read_manifest(tmp_path / "package").numbers.revisions.sources == {}


def test_a_method_whose_setup_fails_is_refused_in_one_line(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command and from Python; a run folder is not left behind."""
    notebook.run("@register\n" + mine().replace("    def predict", "    def setup(self): 1 / 0\n\n    def predict"))
    assert bench(tmp_path / "run") == 1
    line = "method mine cannot be set up: ZeroDivisionError: division by zero"
    assert capsys.readouterr().err == f"run-bench: {line}\n"
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError) as caught:
        load_method("mine", "embedded", ["cat", "dog"])
    assert str(caught.value) == line


def test_a_method_s_name_may_have_dots(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run("@register\n" + mine().replace('"mine"', '"mine.v2"'))
    words = ["--methods", "zeroshot,mine.v2", "--set", "mine.v2.templates=openai80", "--out", str(tmp_path / "run")]
    assert main([*WORDS, *words]) == 0
    assert read_manifest(tmp_path / "run").numbers.methods["mine.v2"].templates == "openai80"


def test_edited_methods_are_told_apart_wherever_runs_meet(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts are not merged, a comparison says it, and no table holds both."""
    parts = [tmp_path / "one", tmp_path / "two"]
    assert bench(parts[0], "--shard-range", "1/2") == 0
    notebook.run("GAIN = 3")
    assert bench(parts[1], "--shard-range", "2/2") == 0
    capsys.readouterr()
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "whole")]) == 1
    assert EDITED in capsys.readouterr().err
    first, second = (read_manifest(part).numbers for part in parts)
    (line,) = first.code_differences(second)
    assert line.startswith("revisions.sources.mine.sha256: ")
    assert line.endswith(EDITED)
    assert first.code_differences(first) == []
    for part in parts:
        assert bench(tmp_path / f"whole {part.name}") == 0
        notebook.run("GAIN = 2")
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "whole two"), str(tmp_path / "whole one")]) == 0
    assert EDITED in capsys.readouterr().out


DEEP = "DEEP = []\nfor _ in range(20_000): DEEP = [DEEP]\n@register\n" + mine("DEEP\nreturn super().predict(batch)")


@pytest.mark.parametrize("words", [["--devices", "cpu,cpu"], ["--ray", "local", "--devices", "cpu"]])
def test_a_method_that_cannot_be_sent_is_refused_before_anything_is_started(
    notebook: Notebook,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    """In one line with its name and what to do; no process, no Ray."""

    def started(*_arguments: object, **_names: object) -> None:
        raise AssertionError("work has started")

    monkeypatch.setattr("apm_tta.harness.compute.engines.local.Child", started)
    monkeypatch.setattr("apm_tta.harness.compute.engines.ray.connected", started)
    notebook.run(DEEP)
    capsys.readouterr()
    assert bench(tmp_path / "run", *words) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "method mine cannot be sent to other processes (" in said
    assert "run it on one device without --ray, or create that in setup()" in said


def test_what_cannot_be_compared_is_refused_before_a_folder_is_left(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.run("import threading\n" + CELL.format("threading.Lock()"))
    capsys.readouterr()
    assert bench(tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "method mine refers to Mine.predict -> sharper -> GAIN, whose content cannot be compared between runs" in said
    )
    assert not (tmp_path / "run" / "run.yaml").exists()


@pytest.mark.parametrize(
    "gain", ['globals()["GAIN"]', 'eval("GAIN")', 'sys.modules["__main__"].GAIN', 'exec("GAIN") or 2']
)
def test_code_that_reads_what_it_does_not_name_is_refused(
    gain: str, notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An edit of what it reads would go unnoticed."""
    body = f"return Predictions({gain} * self.logits(self.features(batch)))"
    notebook.run(f"import sys\nGAIN = 2\n@register\n{mine(body)}")
    assert bench(tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "whose content cannot be compared between runs (" in said
    assert "reads what its code does not name" in said


# As a person writes it: no ``if __name__ == "__main__":``, which a process that imports the script would need.
SCRIPT = '''
import os
import warnings

import torch

from apm_tta import UserError, load_method
from apm_tta.cli import main
from apm_tta.methods import Method, Predictions, register

print("the script runs")
torch.set_num_threads(1)  # as each of two processes has: sums of two differ in their last bits


class OfThisScript(Exception):
    """Known to no other process."""


os.environ["OF_THE_SCRIPT"] = str(os.getpid())


def here():
    return os.environ["OF_THE_SCRIPT"] == str(os.getpid())


def rebuilt(value):
    if value == "nowhere else" and not here():
        raise OfThisScript("this object\\nstays where it is")
    return Fragile(value)


class Fragile:
    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return rebuilt, (self.value,)


GAIN = 2


def sharper(logits):
    return GAIN * logits


@register
class Mine(Method):
    name, protocol = "mine", "episodic"
    fragile = Fragile("anywhere")

    def setup(self):
        self.check()

    def check(self):
        pass

    def predict(self, batch):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            path = "/somewhere/site-packages/numpy/core.py"
            warnings.warn_explicit("invalid value encountered in divide", RuntimeWarning, path, 1)
        return Predictions(sharper(self.logits(self.features(batch))))


def bench(name, *words):
    chosen = ["--methods", "zeroshot,apm,tda,mine", "--set", "apm.iterations=4"]
    return main([*WORDS, *chosen, "--out", f"{OUT}/{name}", *words])


def fails(self):
    if not here():
        raise OfThisScript("no setup\\nhere")
'''


def run_script(folder: Path, rest: str) -> CompletedProcess[str]:
    """Run the script with ``rest`` at its end, in a folder without a checkout."""
    file = folder / "script.py"
    file.write_text(f"WORDS, OUT = {WORDS!r}, {str(folder)!r}\n{SCRIPT}\n{rest}")
    return run_program(file.read_text(), script=file)


Answers = Callable[[Path], pa.Table]


def test_two_devices_answer_as_one_from_a_script_without_a_guard(tmp_path: Path, answers: Answers) -> None:
    """The script runs once. What cannot be rebuilt in a worker is one line, and no process that was lost.

    Methods of one's own and of the package, episodic ones and streams: all have the same answers.
    What a library warns of is noted once, whichever process heard it, in the log and in the report. Workers start their
    loading processes as the system does, not anew as they were started themselves.
    """
    done = run_script(
        tmp_path,
        """
from apm_tta.harness.compute.quiet_processes import quiet_context

def tells(self):
    print("loads by", quiet_context().get_start_method(), flush=True)

Mine.check = tells
codes = [bench("one"), bench("two", "--devices", "cpu,cpu", "--workers", "1")]
codes.append(main(["compare", f"{OUT}/one", f"{OUT}/two"]))
Mine.fragile = Fragile("nowhere else")
codes.append(bench("rebuilt", "--devices", "cpu,cpu", "--limit", "4"))  # for one shard one worker is started
print("codes", codes)
""",
    )
    assert done.stdout.count("the script runs") == 1, done.stdout + done.stderr
    assert "codes [0, 0, 0, 1]" in done.stdout, done.stderr
    assert "nothing that decides a number" in done.stdout
    assert {*re.findall("loads by (.*)", done.stdout)} == {multiprocessing.get_all_start_methods()[0]}
    assert answers(tmp_path / "two").equals(answers(tmp_path / "one"))
    for text in ((tmp_path / "two" / name).read_text() for name in ("run.log", "results.md", "report.html")):
        (heard,) = re.findall(r"numpy warns: invalid value encountered in divide \((\d+) times\)", text)
        assert int(heard) >= 3, "there are three shards"
    (rebuilt,) = done.stderr.strip().splitlines()
    assert "the methods of this run cannot be rebuilt in another process (OfThisScript: this object stays" in rebuilt
    assert "lost" not in rebuilt


def pack_pictures(folder: Path) -> None:
    """Write four pictures of each of three classes as a tree, and the same tree as a tar in a folder of its own."""
    generator = np.random.default_rng(7)
    for name in ("Bag", "Coat", "Sandal"):
        (folder / "unpacked" / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (28, 28, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "unpacked" / "photos" / name / f"{number}.png")
    (folder / "packed").mkdir()
    with tarfile.open(folder / "packed" / "photos.tar", "w") as tar:
        tar.add(folder / "unpacked" / "photos", "photos")


def test_ray_of_which_a_busy_worker_dies_answers_as_one_process(tmp_path: Path, answers: Answers) -> None:
    """It is killed once the first records are there; its shard is answered by another.

    Images that lie in an archive are read in tasks too. What fails in a task alone, such as a method's setup, is one
    line.
    """
    pytest.importorskip("ray", reason="Ray is not installed")
    pack_pictures(tmp_path)
    done = run_script(
        tmp_path,
        """
import signal, threading, time
from pathlib import Path
import psutil
import ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)  # a user's own, which every run uses and leaves

def recorded(name):
    return len(list(Path(OUT, name).glob("records/**/*.parquet")))

def is_busy(process):
    # Whether it is a worker of Ray that has a shard: Ray writes what a worker does over its name.
    try:
        return process.name().startswith("ray::compute")
    except psutil.NoSuchProcess:
        return False

def kill():
    busy = []
    while not busy or not recorded("ray"):
        time.sleep(0.005)
        busy = [child for child in psutil.Process().children(recursive=True) if is_busy(child)]
    os.kill(busy[0].pid, signal.SIGKILL)
    print("killed before the end:", recorded("ray") < recorded("one"))

many = ["--limit", "24"]
codes = [bench("one", *many)]
killer = threading.Thread(target=kill, daemon=True)
killer.start()
codes.append(bench("ray", "--ray", "local", "--devices", "cpu", *many))
killer.join(60)
words = ["folder", "--teacher", "embedded", "--methods", "zeroshot", "--shard-size", "4", "--device", "cpu", "--quiet"]
codes.append(main([*words, "--out", f"{OUT}/tree", "--data-root", f"{OUT}/unpacked/photos"]))
codes.append(main([*words, "--out", f"{OUT}/tar", "--data-root", f"{OUT}/packed/photos", "--ray", "local"]))
Mine.check = fails
codes.append(bench("setup", "--ray", "local", "--devices", "cpu"))
print("still there:", ray.is_initialized())
ray.shutdown()
print("codes", codes)
""",
    )
    assert "codes [0, 0, 0, 0, 1]" in done.stdout, done.stderr
    assert answers(tmp_path / "tar").equals(answers(tmp_path / "tree"))
    assert "read from photos.tar" in (tmp_path / "tar" / "results.md").read_text(encoding="utf-8")
    assert "killed before the end: True" in done.stdout
    assert "still there: True" in done.stdout
    assert answers(tmp_path / "ray").equals(answers(tmp_path / "one"))
    (setup,) = [line for line in done.stderr.splitlines() if line.startswith("run-bench: ")]
    assert "run-bench: method mine cannot be set up: OfThisScript: no setup here; " in setup
