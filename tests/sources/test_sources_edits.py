"""The digest of a user-defined method: every edit of what it refers to changes it, and nothing else does."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import Notebook, defined, mine

from apm_tta.errors import UserError
from apm_tta.methods import METHODS
from apm_tta.sources.method_source import code_in_memory, method_source


def digest(*cells: str) -> str:
    return code_in_memory("mine", defined(*cells)).sha256


PLAIN = mine()
EDITS = {
    "an operator": (mine("return batch + 1"), mine("return batch - 1")),
    "a constant": (mine("return batch + 1"), mine("return batch + 2")),
    "an integer that becomes a float": (mine("return batch * 1"), mine("return batch * 1.0")),
    "the sign of zero": (mine("return batch * 0.0"), mine("return batch * -0.0")),
    "a nested constant": (mine("return batch in (1, (2, 3))"), mine("return batch in (1, (2, 4))")),
    "a set constant": (mine("return batch in {'a', 'b'}"), mine("return batch in {'a', 'c'}")),
    "the method that is called": (mine("return batch.min()"), mine("return batch.max()")),
    "an exception that is caught": (
        mine("try:\n    return 1\nexcept ValueError:\n    return 2"),
        mine("try:\n    return 1\nexcept KeyError:\n    return 2"),
    ),
    "which lines are tried": (
        mine("a = 1\ntry:\n    b = 2\nexcept ValueError:\n    b = 3\nreturn a, b"),
        mine("try:\n    a = 1\n    b = 2\nexcept ValueError:\n    b = 3\nreturn a, b"),
    ),
    "an assertion": (mine("return 1"), mine("assert batch\nreturn 1")),
    "a global constant": ("K = 1\n" + mine("return K"), "K = 2\n" + mine("return K")),
    "a global that is made": (mine("return K"), "K = 2\n" + mine("return K")),
    "a helper": ("def h(x): return x\n" + mine("return h(1)"), "def h(x): return -x\n" + mine("return h(1)")),
    "a helper's default": (
        "def h(x=1): return x\n" + mine("return h()"),
        "def h(x=2): return x\n" + mine("return h()"),
    ),
    "a helper's keyword default": (
        "def h(*, x=1): return x\n" + mine("return h()"),
        "def h(*, x=2): return x\n" + mine("return h()"),
    ),
    "a helper's helper": (
        "def g(): return 1\ndef h(): return g()\n" + mine("return h()"),
        "def g(): return 2\ndef h(): return g()\n" + mine("return h()"),
    ),
    "a helper that another function uses inside": (
        "K = 1\n" + mine("def inner(): return K\nreturn inner()"),
        "K = 2\n" + mine("def inner(): return K\nreturn inner()"),
    ),
    "a helper in a comprehension": (
        "K = 1\n" + mine("return [K + x for x in batch]"),
        "K = 2\n" + mine("return [K + x for x in batch]"),
    ),
    "a global in the body of an inner class": (
        "K = 1\n" + mine("class Inner:\n    k = K\nreturn Inner.k"),
        "K = 2\n" + mine("class Inner:\n    k = K\nreturn Inner.k"),
    ),
    "a lambda": ("h = lambda x: x + 1\n" + mine("return h(1)"), "h = lambda x: x + 2\n" + mine("return h(1)")),
    "a closure's variable": (
        "def make(k): return lambda x: x * k\nh = make(1)\n" + mine("return h(1)"),
        "def make(k): return lambda x: x * k\nh = make(2)\n" + mine("return h(1)"),
    ),
    "a partial's argument": (
        "h = functools.partial(max, 1)\n" + mine("return h(2)"),
        "h = functools.partial(max, 3)\n" + mine("return h(2)"),
    ),
    "a decorator": (
        mine(attributes="def aux(self): return 1"),
        mine(attributes="@staticmethod\ndef aux(self): return 1"),
    ),
    "what a decorator of a library is around": (
        mine(attributes="@torch.no_grad()\ndef aux(self): return 1"),
        mine(attributes="@torch.no_grad()\ndef aux(self): return 2"),
    ),
    "which decorator of a library it is": (
        mine(attributes="@torch.no_grad()\ndef aux(self): return 1"),
        mine(attributes="@torch.enable_grad()\ndef aux(self): return 1"),
    ),
    "a user's decorator": (
        "def d(f):\n    return functools.wraps(f)(lambda *a: f(*a))\n" + mine(attributes="@d\ndef aux(self): return 1"),
        "def d(f):\n    return functools.wraps(f)(lambda *a: -f(*a))\n"
        + mine(attributes="@d\ndef aux(self): return 1"),
    ),
    "a property": (
        mine(attributes="@property\ndef k(self): return 1"),
        mine(attributes="@property\ndef k(self): return 2"),
    ),
    "a cached property": (
        mine(attributes="@functools.cached_property\ndef k(self): return 1"),
        mine(attributes="@functools.cached_property\ndef k(self): return 2"),
    ),
    "a class method": (
        mine(attributes="@classmethod\ndef k(cls): return 1"),
        mine(attributes="@classmethod\ndef k(cls): return 2"),
    ),
    "what a cache is around": (
        "@functools.lru_cache(maxsize=4)\ndef h(x): return x\n" + mine("return h(1)"),
        "@functools.lru_cache(maxsize=4)\ndef h(x): return -x\n" + mine("return h(1)"),
    ),
    "a class attribute": (mine(attributes="step = 1"), mine(attributes="step = 2")),
    "an attribute that is taken away": (mine(attributes="step = 1"), PLAIN),
    "the name of the class": (PLAIN, PLAIN.replace("class Mine", "class Other") + "Mine = Other\n"),
    "a base class": (
        "class Base(Method):\n    def aux(self): return 1\n" + PLAIN.replace("(Method)", "(Base)"),
        "class Base(Method):\n    def aux(self): return 2\n" + PLAIN.replace("(Method)", "(Base)"),
    ),
    "the order of base classes": (
        "class A: pass\nclass B: pass\n" + mine(brackets=", A, B"),
        "class A: pass\nclass B: pass\n" + mine(brackets=", B, A"),
    ),
    "a metaclass": (
        "class M(type(Method)):\n    def k(cls): return 1\n" + mine(brackets=", metaclass=M"),
        "class M(type(Method)):\n    def k(cls): return 2\n" + mine(brackets=", metaclass=M"),
    ),
    "a default parameter": (
        "@dataclass(frozen=True)\nclass P:\n    templates: Templates = 'dataset'\n    k: int = 1\n"
        + mine(brackets="[P]"),
        "@dataclass(frozen=True)\nclass P:\n    templates: Templates = 'dataset'\n    k: int = 2\n"
        + mine(brackets="[P]"),
    ),
    "a default factory": (
        "@dataclass(frozen=True)\nclass P:\n    templates: str = ''\n    k: list = field(default_factory=lambda: [1])\n"
        + mine(brackets="[P]"),
        "@dataclass(frozen=True)\nclass P:\n    templates: str = ''\n    k: list = field(default_factory=lambda: [2])\n"
        + mine(brackets="[P]"),
    ),
    "a parameter's range": (
        "@dataclass(frozen=True)\nclass P:\n    templates: str = ''\n    k: Annotated[int, Field(ge=0)] = 1\n"
        + mine(brackets="[P]"),
        "@dataclass(frozen=True)\nclass P:\n    templates: str = ''\n    k: Annotated[int, Field(ge=1)] = 1\n"
        + mine(brackets="[P]"),
    ),
    "a parameter's type": (
        "@dataclass(frozen=True, slots=True)\nclass P:\n    templates: str = ''\n    k: int = 1\n"
        + mine(brackets="[P]"),
        "@dataclass(frozen=True, slots=True)\nclass P:\n    templates: str = ''\n    k: float = 1\n"
        + mine(brackets="[P]"),
    ),
    "a value of an enumeration": (
        "class E(Enum):\n    A = 1\n" + mine("return E.A.value"),
        "class E(Enum):\n    A = 2\n" + mine("return E.A.value"),
    ),
    "which member it is": (
        "class E(Enum):\n    A = 1\n    B = 2\nk = E.A\n" + mine("return k"),
        "class E(Enum):\n    A = 1\n    B = 2\nk = E.B\n" + mine("return k"),
    ),
    "a named tuple's default": (
        "class T(NamedTuple):\n    k: int = 1\n" + mine("return T()"),
        "class T(NamedTuple):\n    k: int = 2\n" + mine("return T()"),
    ),
    "an object's attribute": (
        "class C:\n    pass\nc = C()\nc.k = 1\n" + mine("return c.k"),
        "class C:\n    pass\nc = C()\nc.k = 2\n" + mine("return c.k"),
    ),
    "an object's class": (
        "class C:\n    def k(self): return 1\nc = C()\n" + mine("return c.k()"),
        "class C:\n    def k(self): return 2\nc = C()\n" + mine("return c.k()"),
    ),
    "a flag of a combination": (
        "from enum import Flag\nclass F(Flag):\n    A = 1\n    B = 2\n    C = 4\nk = F.A | F.B\n" + mine("return k"),
        "from enum import Flag\nclass F(Flag):\n    A = 1\n    B = 2\n    C = 4\nk = F.A | F.C\n" + mine("return k"),
    ),
    "what is kept from the compiler": (
        mine(attributes="@torch.compiler.disable\ndef aux(self): return 1"),
        mine(attributes="@torch.compiler.disable\ndef aux(self): return 2"),
    ),
    "the order of a dictionary": (
        "D = {'a': 1, 'b': 2}\n" + mine("return list(D.values())"),
        "D = {'b': 2, 'a': 1}\n" + mine("return list(D.values())"),
    ),
    "one number of a tensor": (
        "T = torch.arange(4.0)\n" + mine("return T"),
        "T = torch.tensor([0.0, 1.0, 2.0, 3.5])\n" + mine("return T"),
    ),
    "a tensor's type": (
        "T = torch.arange(4)\n" + mine("return T"),
        "T = torch.arange(4, dtype=torch.int32)\n" + mine("return T"),
    ),
    "a tensor's shape": (
        "T = torch.zeros(4)\n" + mine("return T"),
        "T = torch.zeros(2, 2)\n" + mine("return T"),
    ),
    "one number of an array": (
        "T = np.arange(4)\n" + mine("return T"),
        "T = np.array([0, 1, 2, 4])\n" + mine("return T"),
    ),
    "a weight of a network": (
        "torch.manual_seed(0)\nN = torch.nn.Linear(2, 2)\n" + mine("return N(batch)"),
        "torch.manual_seed(0)\nN = torch.nn.Linear(2, 2)\nN.bias.data[1] += 1\n" + mine("return N(batch)"),
    ),
    "whether a network is in training": (
        "torch.manual_seed(0)\nN = torch.nn.Linear(2, 2)\n" + mine("return N(batch)"),
        "torch.manual_seed(0)\nN = torch.nn.Linear(2, 2).eval()\n" + mine("return N(batch)"),
    ),
    "the state of a generator": (
        "R = np.random.default_rng(0)\n" + mine("return R.normal()"),
        "R = np.random.default_rng(1)\n" + mine("return R.normal()"),
    ),
    "which function of a library it is": (
        "h = torch.relu\n" + mine("return h(batch)"),
        "h = torch.tanh\n" + mine("return h(batch)"),
    ),
    "which method of the package it extends": (
        "from apm_tta.methods.tent import Tent\n" + mine(attributes="inner = Tent"),
        "from apm_tta.methods.tda import TDA as Tent\n" + mine(attributes="inner = Tent"),
    ),
    "another method that it looks up": (
        "class Other(Method):\n    name, protocol, k = 'other', 'episodic', 1\n    def predict(self, batch): ...\n"
        "METHODS.register('other')(Other)\n" + mine("return METHODS.get('other')"),
        "class Other(Method):\n    name, protocol, k = 'other', 'episodic', 2\n    def predict(self, batch): ...\n"
        "METHODS.register('other')(Other)\n" + mine("return METHODS.get('other')"),
    ),
}


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    yield
    METHODS._entries.pop("other", None)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_what_a_method_refers_to_changes_its_digest(edit: str) -> None:
    """Each half is the same in itself: the difference is the edit's, and nothing of chance."""
    before, after = EDITS[edit]
    assert digest(before) == digest(before)
    assert digest(after) == digest(after)
    assert digest(before) != digest(after)


NO_EDITS = {
    "a comment": (PLAIN, "# What it does.\n" + PLAIN.replace("name,", "# its name\n    name,")),
    "blank lines above": (PLAIN, "\n" * 300 + PLAIN),
    "a docstring": (PLAIN, PLAIN.replace("name,", '"""What it is."""\n    name,')),
    "a docstring of a function": (mine("return 1"), mine('"""What it does."""\nreturn 1')),
    "another docstring of a function": (mine('"""What."""\nreturn 1'), mine('"""What it does."""\nreturn 1')),
    "a docstring of an inner function": (
        mine("def f(): return 1\nreturn f()"),
        mine("def f():\n    '''One.'''\n    return 1\nreturn f()"),
    ),
    "an annotation": (
        "def h(x): return x\n" + mine("return h(1)"),
        "def h(x: int) -> int: return x\n" + mine("return h(1)"),
    ),
    "something else in the notebook": (PLAIN, "K = 1\ndef features(): ...\n" + PLAIN),
    "the order of methods": (
        mine(attributes="def a(self): return 1\ndef b(self): return 2"),
        mine(attributes="def b(self): return 2\ndef a(self): return 1"),
    ),
    "stating what it inherits": (PLAIN, mine(attributes="needs_text = False\nrevision = 1\npaper = 'none'")),
    "the order in a set": (
        "S = {'a', 'b', 'c', 'd', 'e'}\n" + mine("return S"),
        "S = {'e', 'd', 'c', 'b', 'a'}\n" + mine("return S"),
    ),
    "how a tensor lies in memory": (
        "T = torch.arange(6).reshape(2, 3)\n" + mine("return T"),
        "T = torch.tensor([[0, 3], [1, 4], [2, 5]]).T\n" + mine("return T"),
    ),
    "a cache that fills": (
        "@functools.cache\ndef h(x): return x\n" + mine("return h(1)"),
        "@functools.cache\ndef h(x): return x\nh(1)\n" + mine("return h(1)"),
    ),
    "a helper that is defined below": (
        "def h(x): return x\n" + mine("return h(1)"),
        mine("return h(1)") + "def h(x): return x\n",
    ),
}


@pytest.mark.parametrize("edit", NO_EDITS)
def test_what_decides_no_number_leaves_the_digest(edit: str) -> None:
    before, after = NO_EDITS[edit]
    assert digest(before) == digest(after)


def test_the_cells_of_one_notebook_run_again_give_the_same_digest() -> None:
    """Then the helper alone is edited in its own cell: the class is the one from before, its digest is another."""
    notebook = Notebook()
    notebook.run("def h(x): return x\n")
    notebook.run(mine("return h(1)"))
    first = code_in_memory("mine", notebook.names["Mine"]).sha256
    notebook.run("def h(x): return x\n", "<another file>")
    assert code_in_memory("mine", notebook.names["Mine"]).sha256 == first
    notebook.run("def h(x): return x + 1\n")
    assert code_in_memory("mine", notebook.names["Mine"]).sha256 != first


def test_code_that_has_run_often_is_the_same_code() -> None:
    """Python specialises byte code that runs often, in place."""
    notebook = Notebook()
    notebook.run("K = 2\ndef h(x): return math.sqrt(x) * K + len([x])\n" + mine("return h(1)"))
    first = code_in_memory("mine", notebook.names["Mine"]).sha256
    for number in range(5000):
        notebook.names["h"](number)
    assert code_in_memory("mine", notebook.names["Mine"]).sha256 == first


def test_parameters_that_were_built_are_the_same_parameters() -> None:
    """Pydantic must leave no trace in the class."""
    from pydantic import TypeAdapter

    method = defined(EDITS["a parameter's range"][0])
    first = code_in_memory("mine", method).sha256
    assert TypeAdapter(method.Parameters).validate_python({"k": 3}).k == 3
    method.Parameters(k=1)
    assert code_in_memory("mine", method).sha256 == first


@pytest.mark.parametrize(
    ("cell", "path", "reason"),
    [
        ("import threading\n" + mine(attributes="lock = threading.Lock()"), "Mine.lock", "'_thread.lock'"),
        ("import threading\nL = threading.RLock()\n" + mine("return L"), "Mine.predict -> L", "'_thread.RLock'"),
        (
            "import io\nF = io.TextIOWrapper(io.BytesIO())\n" + mine("return F.read()"),
            "Mine.predict -> F",
            "TextIOWrapper",
        ),
        (
            "G = (x for x in [1])\ndef h(): return next(G)\n" + mine("return h()"),
            "Mine.predict -> h -> G",
            "'generator'",
        ),
        (
            mine(attributes="k = {'s': [0, torch.eye(2).to_sparse()]}"),
            "Mine.k['s'][1]",
            "only dense tensors",
        ),
        ("f = torch.compile(lambda x: x)\n" + mine("return f(1)"), "Mine.predict -> f", "torch.compile"),
        (mine(attributes="@torch.compile\ndef aux(self): return 1"), "Mine.aux", "torch.compile"),
        ("N = torch.compile(torch.nn.Identity())\n" + mine("return N(1)"), "Mine.predict -> N", "torch.compile"),
        (
            "class C:\n    def __reduce__(self): raise RuntimeError('two\\nlines')\nc = C()\n" + mine("return c"),
            "Mine.predict -> c",
            "two lines",
        ),
        (
            "class C:\n    def __reduce__(self): return 'c'\nc = C()\n" + mine("return c"),
            "Mine.predict -> c",
            "known by its name alone",
        ),
    ],
)
def test_what_has_no_content_is_refused_by_its_path(cell: str, path: str, reason: str) -> None:
    """In one line: the method, the way to what cannot be compared, why, and what to do."""
    method = defined(cell)
    with pytest.raises(UserError) as caught:
        method_source("mine", method)
    message = str(caught.value)
    assert message.startswith(f"method mine refers to {path}, whose content cannot be compared between runs (")
    assert reason in message
    assert message.endswith("create it in setup(), or where it is used")
    assert "\n" not in message


def test_a_lock_that_setup_creates_is_no_part_of_the_class() -> None:
    method = defined("import threading\n" + mine(attributes="def setup(self): self.lock = threading.Lock()"))
    assert method_source("mine", method) is not None


def test_a_logger_of_the_notebook_is_its_name() -> None:
    cell = "import logging\nlog = logging.getLogger('{}')\n" + mine("log.info('x')")
    logging.getLogger("one").addHandler(logging.NullHandler())
    assert digest(cell.format("one")) == digest(cell.format("one"))
    assert digest(cell.format("one")) != digest(cell.format("two"))


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a user module on the path; it is imported anew after each edit."""
    file = tmp_path / "apm_tta_test_losses.py"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield file
    sys.modules.pop(file.stem, None)


USES = {
    "import at the top": "import apm_tta_test_losses\n" + mine("return apm_tta_test_losses.loss(1)"),
    "from import at the top": "from apm_tta_test_losses import loss\n" + mine("return loss(1)"),
    "another name for it": "import apm_tta_test_losses\n" + mine("m = apm_tta_test_losses\nreturn m.loss(1)"),
    "import where it is used": mine("import apm_tta_test_losses\nreturn apm_tta_test_losses.loss(1)"),
    "from import where it is used": mine("from apm_tta_test_losses import loss\nreturn loss(1)"),
    "a base class": "from apm_tta_test_losses import Base\n" + mine().replace("(Method)", "(Base, Method)"),
}


@pytest.mark.parametrize("use", USES)
def test_a_module_of_ones_own_is_part_of_the_method(use: str, own_module: Path) -> None:
    """Its function, what that refers to, and its constants as they are in memory."""
    text = "K = 2\ndef loss(x): return inner(x) * K\ndef inner(x): return {}\nclass Base:\n    inner = inner\n"
    found = []
    for result in ("x", "-x", "x"):
        own_module.write_text(text.format(result))
        sys.modules.pop(own_module.stem, None)
        found.append(digest(USES[use]))
    assert found[0] == found[2] != found[1]
    if use != "a base class":
        sys.modules[own_module.stem].K = 3
        assert digest(USES[use]) not in found


def test_of_a_module_only_what_is_read_counts(own_module: Path) -> None:
    """A lock beside it is nobody's concern, and neither is another function; where the whole module may be, it is."""
    found = []
    for other in ("1", "2"):
        own_module.write_text(
            f"import threading\nLOCK = threading.Lock()\ndef loss(x): return x\ndef other(): return {other}\n"
        )
        sys.modules.pop(own_module.stem, None)
        found.append(digest(USES["import at the top"]))
    assert found[0] == found[1]
    with pytest.raises(UserError, match=r"refers to Mine\.predict -> apm_tta_test_losses\.LOCK, "):
        digest(USES["another name for it"])


def test_a_module_that_is_missing_is_no_error_before_it_is_used() -> None:
    text = "try:\n    import apm_tta_test_nowhere\nexcept ImportError:\n    return {}\n"
    assert digest(mine(text.format(1))) != digest(mine(text.format(2)))


def test_a_method_of_the_package_has_its_revision_instead() -> None:
    assert [method_source(name, METHODS.get(name)) for name in METHODS.names()] == [None] * len(METHODS.names())


def test_a_class_that_says_to_be_of_the_package_is_ones_own() -> None:
    method = defined(PLAIN)
    method.__module__ = "apm_tta.methods.zeroshot"
    assert method_source("mine", method) is not None


def test_a_graph_of_many_functions_that_call_one_another_takes_no_time() -> None:
    """Forty functions, each of which calls all: walks along all paths would not end."""
    names = [f"f{number}" for number in range(40)]
    cells = [f"def {name}(x): return {' + '.join(f'{other}(x)' for other in names)} + {{}}\n" for name in names]
    text = "".join(cells) + mine("return f0(1)")
    with contextlib.suppress(RecursionError):
        assert digest(text.format(*[0] * 40)) == digest(text.format(*[0] * 40))
        assert digest(text.format(*[0] * 40)) != digest(text.format(*[0] * 39, 1))
