"""A job as bytes: another process has the same user-defined method, to the digest of its code, or nothing is sent."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import pytest
from cells import Notebook, mine

from apm_tta.errors import UserError
from apm_tta.harness.compute.code_pickler import Unsendable, pickled_with_code
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.parcel import pack, unpack
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.methods import METHODS, register
from apm_tta.sources import method_source

pytestmark = pytest.mark.usefixtures("nothing_stays_registered")

RECEIVER = """
import sys
from apm_tta.harness.compute.parcel import unpack
from apm_tta.methods import METHODS
from apm_tta.sources import method_source

while size := int.from_bytes(sys.stdin.buffer.read(8), "big"):
    METHODS._entries.pop("mine", None)
    try:
        content = unpack(sys.stdin.buffer.read(size))
        print(content, method_source("mine", METHODS.get("mine")), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""
Receive = Callable[[bytes], str]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of installed packages that the other process has too."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def receive(packages: Path) -> Iterator[Receive]:
    """Another process, in another folder and with other hashes of texts: tells the source of what it is sent."""
    process = subprocess.Popen(
        [sys.executable, "-c", RECEIVER],
        cwd="/",
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(packages)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def send(packed: bytes) -> str:
        process.stdin.write(len(packed).to_bytes(8, "big") + packed)
        process.stdin.flush()
        return process.stdout.readline().decode().strip()

    yield send
    process.communicate(bytes(8))


def registered(*cells: str) -> type:
    notebook = Notebook()
    for cell in cells:
        notebook.run(cell)
    method: type = notebook.names["Mine"]
    register(method)
    return method


SENT = {
    "nothing but itself": mine(),
    "helpers that call one another": "def f(x): return g(x) if x else 0\ndef g(x): return f(x - 1)\n"
    + mine("return f(3)"),
    "super and a property": mine(
        attributes="def setup(self): super().setup()\n@property\ndef k(self): return self.seed"
    ),
    "a base class of its own": "class Base(Method):\n    step = 1\n" + mine().replace("(Method)", "(Base)"),
    "a metaclass": "class M(type(Method)):\n    def k(cls): return 1\n" + mine(brackets=", metaclass=M"),
    "parameters": "@dataclass(frozen=True)\nclass P:\n    templates: Templates = 'dataset'\n"
    "    k: Annotated[int, Field(ge=1)] = 1\n" + mine(brackets="[P]"),
    "parameters with slots": "@dataclass(frozen=True, slots=True)\n"
    "class P:\n    templates: str = ''\n    k: tuple = (1, 2)\n" + mine(brackets="[P]"),
    "attributes that are as inherited": mine(attributes="needs_text = False\nrevision = 1\nstream_batch = None"),
    "a tensor, an array and a network": "T = torch.ones(2).half()\nA = np.arange(3)\ntorch.manual_seed(0)\n"
    "N = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))\n" + mine("return N(T) + A"),
    "a generator": "R = np.random.default_rng(1)\nG = torch.Generator().manual_seed(1)\n" + mine("return R, G"),
    "an enumeration and a named tuple": "class E(Enum):\n    A = 1\n    def k(self): return 2\n"
    "class T(NamedTuple):\n    k: int = 1\n" + mine("return E.A.k(), T()"),
    "sets and dictionaries": "S = {'a', 'b', 'c'}\nD = {'x': {1: S}, 2: frozenset({('y', 1)})}\n"
    + mine("return S, D, 1 in {2, 'q'}"),
    "closures, lambdas and partials": "def make(k): return lambda x, y=[k]: x * k\n"
    "f = functools.partial(make(2), y=[3])\n" + mine("return f(1)"),
    "decorators of libraries": mine(
        attributes="@torch.no_grad()\ndef a(self): return 1\n@torch.autocast('cpu')\ndef b(self): return 2"
    ),
    "a decorator of its own": "def d(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a)\n    return g\n"
    + mine(attributes="@d\ndef a(self): return 1"),
    "a cached property": mine(attributes="@functools.cached_property\ndef k(self): return 1"),
    "a cached function that calls itself": "@functools.lru_cache(maxsize=9)\ndef f(n): return f(n - 1) if n else 1\n"
    + mine("return f(3)"),
    "a type of its own": "U = NewType('U', int)\ndef f(x: U) -> U: return U(x)\n" + mine("return f(1)"),
    "an inner class that reads a global": "K = 5\n" + mine("class Inner:\n    k = K\nreturn Inner.k"),
    "an object": "class C:\n    def __init__(self): self.b, self.a = 1, self\nc = C()\n" + mine("return c.a"),
    "a logger": "import logging\nlog = logging.getLogger(__name__)\n" + mine("log.info('x')"),
    "a module of operators": mine("return torch.ops.aten.add(batch, 1)"),
    "a method of the package": "from apm_tta.methods.tent import Tent\nclass Inner(Tent):\n    name = 'inner'\n"
    + mine("return Inner"),
    "another method of its own, by name": "class Other(Method):\n    name, protocol = 'other', 'episodic'\n"
    "    def predict(self, batch): ...\nMETHODS.register('other')(Other)\n" + mine("return METHODS.get('other')"),
    "a function by the type of its argument": "@functools.singledispatch\ndef f(x): return x\n"
    "@f.register\ndef _(x: int): return -x\n" + mine("return f(1)"),
    "a pattern": "import re\nR = re.compile('a+')\n" + mine("return R.match('a')"),
}


@pytest.mark.parametrize("what", SENT)
def test_another_process_has_the_same_method(what: str, receive: Receive) -> None:
    """Its code has the same digest there; the content comes along; and nothing here has changed."""
    method = registered(SENT[what])
    here = method_source("mine", method)
    assert receive(pack(f"sent {what!r},", ["zeroshot", "mine"])) == f"sent {what!r}, {here}"
    assert method_source("mine", method) == here
    assert METHODS.get("mine") is method
    assert cloudpickle.list_registry_pickle_by_value() == set()


MODULE = """
import threading
import apm_tta_test_partner

LOCK = threading.Lock()
K = 2

def loss(x):
    return x * K + apm_tta_test_partner.K

class Base:
    def inner(self):
        return loss(K)
"""


@pytest.fixture
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two modules that import one another, and that no other process finds."""
    (tmp_path / "apm_tta_test_losses.py").write_text(MODULE)
    (tmp_path / "apm_tta_test_partner.py").write_text("import apm_tta_test_losses\nL = open\nK = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in ("apm_tta_test_losses", "apm_tta_test_partner"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "cell",
    [
        "import apm_tta_test_losses\n" + mine("return apm_tta_test_losses.loss(1)"),
        "from apm_tta_test_losses import loss, Base\n" + mine("return loss(1)").replace("(Method)", "(Base, Method)"),
    ],
)
def test_modules_of_ones_own_are_sent_with_their_code(cell: str, own_modules: None, receive: Receive) -> None:
    """As they are in memory; a lock in one of them, which the method does not use, stays behind."""
    method = registered(cell)
    sys.modules["apm_tta_test_losses"].K = 4
    assert receive(pack("", ["mine"])) == str(method_source("mine", method))
    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_a_class_of_a_module_of_ones_own_is_sent_with_its_code(own_modules: None, receive: Receive) -> None:
    """Not by a name that another machine would look up."""
    import apm_tta_test_losses as module

    exec("from apm_tta.methods import Method, Predictions\n" + mine("return loss(1)"), vars(module))
    register(module.Mine)
    assert receive(pack("", ["mine"])) == str(method_source("mine", module.Mine))


def test_a_plugin_is_sent_by_its_name(packages: Path, monkeypatch: pytest.MonkeyPatch, receive: Receive) -> None:
    """The other process has it installed, and finds out by itself which files it has; or says that it has it not."""
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, version in (("apm_tta_test_plugin", "1.0"), ("apm_tta_test_missing", "2.0")):
        (packages / f"{name}.py").write_text("from apm_tta.methods import Method, Predictions\n" + mine())
        metadata = packages / f"{name}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(f"[apm_tta.methods]\nmine = {name}:Mine\n")
        METHODS._entries.pop("mine", None)
        method = register(importlib.import_module(name).Mine)
        packed, here = pack("", ["mine"]), method_source("mine", method)
        sys.modules.pop(name)
        assert here is not None
        assert (here.distribution, here.version) == (name, version)
        assert b"predict" not in packed
        if name == "apm_tta_test_plugin":
            assert receive(packed) == str(here)
            shutil.rmtree(metadata)
    (packages / "apm_tta_test_missing.py").unlink()
    shutil.rmtree(metadata)
    assert "cannot be rebuilt in another process (ModuleNotFoundError: No module named 'apm_tta_test_m" in receive(
        packed
    )


def test_what_cannot_be_sent_is_refused_by_the_method_that_has_it() -> None:
    """In one line, with what to do, before anything is started; by itself the method runs."""
    method = registered("L = []\nfor _ in range(20_000): L = [L]\n" + mine("return L"))
    assert method_source("mine", method) is not None
    with pytest.raises(UserError) as caught:
        pack("", ["zeroshot", "mine"])
    message = str(caught.value)
    assert message.startswith("method mine cannot be sent to other processes (Could not pickle object as excessively")
    assert message.endswith("run it on one device without --ray, or create that in setup()")
    assert "\n" not in message


class ByName:
    """Pickles by a name that only this process knows."""

    def __reduce__(self) -> str:
        return "known"


known = ByName()


def test_what_is_known_by_its_name_alone_is_refused() -> None:
    """Another process would look for it in a script that it does not have."""
    notebook = Notebook()
    notebook.run(mine())
    register(notebook.names["Mine"])
    assert pack("", ["mine"])
    with pytest.raises(Unsendable, match=r"test_harness_parcel\.known is known by its name alone$"):
        pickled_with_code([1, known], frozenset())
    assert cloudpickle.list_registry_pickle_by_value() == set()
    notebook.names["Mine"].known = known
    with pytest.raises(UserError, match=r"refers to Mine\.known, .* known by its name alone"):
        pack("", ["mine"])


def test_what_cannot_be_rebuilt_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"^the methods of this run cannot be rebuilt in another process \(.*nowhere"
    ) as no:
        unpack(b"capm_tta_test_nowhere\nX\n.")
    assert "\n" not in str(no.value)


def test_a_job_in_its_own_process_keeps_the_class_that_the_notebook_has() -> None:
    """Unpickled here, a class of a cell would be overwritten by a copy that no later cell reaches."""
    method = registered("K = 1\n" + mine("return K"))
    job = Job(resolve_request("demo", {"methods": ["mine"]}, devices=("cpu",)))
    predict = method.predict
    copied = pickle.loads(pickle.dumps(job))
    assert (copied.request, copied.numbers) == (job.request, job.numbers)
    assert METHODS.get("mine") is method
    assert method.predict is predict
    packed = pickle.dumps(job)
    del job
    with pytest.raises(UserError, match="in another process"):
        pickle.loads(packed)
