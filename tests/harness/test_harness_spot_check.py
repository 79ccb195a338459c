"""Answers that depend on the batch, on chance or on the past are found, in a run and where one method is called."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from cells import Notebook, mine
from PIL import Image
from small_settings import NEED_BATCH_NORM, NEED_SUPPORT, as_words, small_settings

from apm_tta import UserError, load_method
from apm_tta.cli import main
from apm_tta.methods import METHODS

pytestmark = pytest.mark.usefixtures("nothing_stays_registered")

WORDS = ["demo", "--limit", "20", "--shard-size", "10", "--corruptions", "", "--quiet"]
CLASSES = [f"thing {number}" for number in range(10)]


@pytest.fixture
def notebook() -> Notebook:
    made = Notebook()
    made.run("from apm_tta.methods import register")
    return made


def bench(out: Path, *words: str) -> int:
    return main([*WORDS, "--methods", "zeroshot,mine", "--out", str(out), *words])


CENTRED = "features = self.features(batch)\nreturn Predictions(self.logits(features - features.mean(0)))"
BATCH_NORM = """
logits = self.logits(self.features(batch))
return Predictions((logits - logits.mean(0)) / (logits.std(0, correction=0) + 1e-3))
"""
FIRST_IMAGE = "logits = self.logits(self.features(batch))\nreturn Predictions(logits + 0.1 * logits[:1].roll(1, 1))"
COUNTED = "return Predictions(self.logits(self.features(batch)) * torch.linspace(1, 1 + len(batch), 10))"
NOISE = "logits = self.logits(self.features(batch))\nreturn Predictions(logits + 0.1 * torch.randn_like(logits))"
DROPOUT = "return Predictions(self.logits(torch.nn.functional.dropout(self.features(batch), 0.1)))"
NUMPY_NOISE = NOISE.replace("torch.randn_like(logits)", "torch.tensor(np.random.rand(10), dtype=torch.float32)")
ENTROPY = """
logits = self.logits(self.features(batch))
return Predictions(logits + torch.rand(10, generator=torch.Generator().manual_seed(torch.seed() % 2**31)))
"""
STATE = """
self.seen = getattr(self, "seen", 0) + len(batch)
return Predictions(self.logits(self.features(batch)) * torch.linspace(1, self.seen, 10))
"""
KEPT = """
features = self.features(batch)
{place}.centre = getattr({place}, "centre", features[0].clone())
return Predictions(self.logits(features - {place}.centre / 2))
"""
IN_A_LIST = """
features = self.features(batch)
self.seen += [features[0].clone()] if not self.seen else []
return Predictions(self.logits(features - self.seen[0] / 2))
"""
IN_THE_MODULE = """
global CENTRE
features = self.features(batch)
CENTRE = features[0].clone() if CENTRE is None else CENTRE
return Predictions(self.logits(features - CENTRE / 2))
"""
LATE = """
self.seen = getattr(self, "seen", 0) + len(batch)
return Predictions(self.logits(self.features(batch)) * torch.linspace(1, 1 + (self.seen > 40), 10))
"""
RANDOM = "differently each time that it is asked: draw random numbers by apm_tta.randomness"
DEPENDENT = r"alone otherwise than among 10 \(logits differ by \d.*\), though it is episodic and states nothing else"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (CENTRED, DEPENDENT),
        (BATCH_NORM, DEPENDENT),
        (FIRST_IMAGE, DEPENDENT),
        (COUNTED, DEPENDENT),
        (NOISE, RANDOM),
        (DROPOUT, RANDOM),
        (NUMPY_NOISE, RANDOM),
        (ENTROPY, RANDOM),
        (STATE, RANDOM),
    ],
    ids=["centred", "normalised", "first image", "counted", "noise", "dropout", "numpy", "entropy", "state"],
)
def test_an_episodic_method_that_is_none_is_refused(
    body: str, message: str, notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In any part of a run, with features from a cache, and where it is called by itself."""
    notebook.run(f"@register\n{mine(body)}")
    assert bench(tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(f"method mine answers image test/\\d+ {message}", said)
    assert bench(tmp_path / "part", "--shard-range", "2/2") == 1
    assert re.search(message, capsys.readouterr().err)
    images = [Image.effect_noise((28, 28), 60).convert("RGB") for _ in range(10)]
    with pytest.raises(UserError, match=message):
        load_method("mine", "embedded", CLASSES)(images)


@pytest.mark.parametrize(
    ("body", "attributes"),
    [
        (KEPT.format(place="self"), ""),
        (KEPT.format(place="type(self)"), ""),
        (IN_A_LIST, "seen = []"),
        (IN_THE_MODULE, ""),
    ],
    ids=["object", "class", "list", "module"],
)
def test_an_episodic_method_that_keeps_what_it_saw_first_is_refused(
    body: str, attributes: str, notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within one process it answers alike: its halves would merge, each centred on another image."""
    for part in ("1/2", "2/2"):
        notebook.run(f"CENTRE = None\n@register\n{mine(body, attributes)}")
        assert bench(tmp_path / part[0], "--shard-range", part) == 1
        said = capsys.readouterr().err
        assert re.search(r"method mine answers image test/\d+ otherwise where it is the first that it sees", said)
        assert said.count("\n") == 1


def test_what_a_method_begins_to_use_late_is_found_when_its_shard_ends(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first answers are as they should be, and so are a fresh one's: only the last ones are not."""
    notebook.run(f"@register\n{mine(LATE)}")
    words = ("--limit", "60", "--shard-size", "60", "--batch-size", "10")
    assert bench(tmp_path / "run", *words) == 1
    said = capsys.readouterr().err
    assert re.search(r"method mine answers image test/\d+ otherwise after it has seen others: it keeps something", said)
    assert said.count("\n") == 1
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_cached_features_do_not_hide_it(notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--methods", "zeroshot", "--feature-cache", "--out", str(tmp_path / "zeroshot")]) == 0
    notebook.run(f"@register\n{mine(CENTRED)}")
    capsys.readouterr()
    assert bench(tmp_path / "run", "--feature-cache") == 1
    assert re.search(DEPENDENT, capsys.readouterr().err)


def test_a_method_that_declares_it_has_the_batch_size_in_its_identity(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resume and merge refuse another one, compare names it; zero-shot's numbers do not depend on it."""
    notebook.run(f"@register\n{mine(CENTRED, 'batch_dependent = True')}")
    run = tmp_path / "run"
    assert bench(run, "--batch-size", "5", "--shard-range", "1/2") == 0
    methods = yaml.safe_load((run / "run.yaml").read_text())["numbers"]["methods"]
    assert methods["mine"]["run_batch_size"] == 5
    assert "run_batch_size" not in methods["zeroshot"]
    capsys.readouterr()
    assert bench(run, "--batch-size", "4") == 1
    assert "methods.mine.run_batch_size: 5 there, 4 now" in capsys.readouterr().err
    assert bench(tmp_path / "other", "--batch-size", "4", "--shard-range", "2/2") == 0
    capsys.readouterr()
    assert main(["merge", str(run), str(tmp_path / "other"), "--out", str(tmp_path / "whole")]) == 1
    assert "methods.mine.run_batch_size: 5 there, 4 now" in capsys.readouterr().err
    assert bench(run, "--batch-size", "5") == 0
    assert bench(tmp_path / "other", "--batch-size", "4") == 0
    capsys.readouterr()
    assert main(["compare", str(run), str(tmp_path / "other")]) == 0
    assert "methods.mine.run_batch_size: 5 there, 4 now" in capsys.readouterr().out


@pytest.mark.parametrize("attributes", ["batch_dependent = True", 'protocol = "online"\nstream_batch = 5'])
def test_chance_is_found_in_methods_that_take_whole_batches_too(
    attributes: str, notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.run(f"@register\n{mine(NOISE, attributes)}")
    assert bench(tmp_path / "run") == 1
    assert re.search(RANDOM, capsys.readouterr().err)


ONLINE = 'protocol = "online"\ndef reset(self): self.mean, self.seen = torch.zeros(64), 0'
RUNNING_MEAN = """
logits = []
for feature in self.features(batch):
    self.seen += 1
    self.mean = self.mean + (feature - self.mean) / self.seen
    logits.append(self.logits(feature - 0.5 * self.mean))
return Predictions(torch.stack(logits))
"""


def test_an_online_method_is_asked_for_its_stream_in_other_batches(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that forgets in reset() and takes image by image passes; one that adapts to whole batches declares them."""
    notebook.run(f"@register\n{mine(RUNNING_MEAN, ONLINE)}")
    assert bench(tmp_path / "run") == 0
    notebook.run(f"@register\n{mine(CENTRED, ONLINE)}")
    capsys.readouterr()
    assert bench(tmp_path / "centred") == 1
    assert re.search(DEPENDENT.replace("10", "20").replace("episodic", "online"), capsys.readouterr().err)
    forgetful = ONLINE.replace("self.mean, self.seen = torch.zeros(64), 0", "pass")
    notebook.run(f"@register\n{mine(RUNNING_MEAN, forgetful + chr(10) + 'mean, seen = torch.zeros(64), 0')}")
    assert bench(tmp_path / "forgetful") == 1
    assert "differently each time that it is asked" in capsys.readouterr().err


CARELESS = {
    "numpy": "self.features(batch).numpy()[:] = 0",
    "class weights": "self.class_weights.mul_(-1)",
    "images": "batch.images[0].paste((0, 0, 0), (0, 0, 28, 28))",
    "weights": "next(self.teacher.image_encoder.parameters()).data.zero_()",
    "dtype": "torch.set_default_dtype(torch.float64)",
}


@pytest.mark.parametrize("act", CARELESS)
def test_a_careless_method_is_refused_before_anybody_is_answered_by_what_it_left(
    act: str, notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"{CARELESS[act]}\nreturn Predictions(torch.zeros(len(batch), 10, dtype=torch.float32))"
    notebook.run(f"@register\n{mine(body)}")
    assert main([*WORDS, "--methods", "mine,zeroshot", "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("run-bench: method mine changed ")
    assert not list(tmp_path.rglob("*.parquet"))


SETTINGS = small_settings(views=2, batch_size=2)
WITH_EMBEDDED = [name for name in METHODS.names() if name not in NEED_BATCH_NORM | NEED_SUPPORT]
ORDERS = [WITH_EMBEDDED, WITH_EMBEDDED[::-1], ["tpt", "tent", "zeroshot", "memo"], ["apm", "tda"]]


@pytest.mark.usefixtures("one_thread")
def test_no_answer_depends_on_which_methods_run_or_in_which_order(
    tmp_path: Path, answers: Callable[[Path], pa.Table]
) -> None:
    """All methods that can work with the embedded teacher alone, in two orders, and few: records are equal to the bit.

    The streams of the online ones go on from clean images to corrupted ones without a reset.
    """
    words = ["demo", "--teacher", "embedded", "--limit", "3", "--corruptions", "contrast", "--severities", "5"]
    words += ["--quiet", "--shard-size", "2", "--batch-size", "2", "--setting", "continual", "--reset", "never"]
    runs = []
    for index, order in enumerate(ORDERS):
        settings = as_words({name: SETTINGS[name] for name in order if name in SETTINGS})
        assert main([*words, "--methods", ",".join(order), *settings, "--out", str(tmp_path / str(index))]) == 0
        runs.append(answers(tmp_path / str(index)))
    for order, other in zip(ORDERS, runs, strict=True):
        same = pc.is_in(runs[0]["method"], pa.array(order))
        assert other.equals(runs[0].filter(same).combine_chunks())
