"""The state of every online method is stored and put back exactly, and every item of it matters."""

from __future__ import annotations

import copy
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_settings import small_settings

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, Method, Predictions, build_method, build_parameters
from apm_tta.methods.kept import Beginning, KeptState, decode_state
from apm_tta.methods.kept.read import Reader
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.encoding_of import DelegatedEncoding
from apm_tta.teachers.support_features import SupportedTeacher, encode_support

SIZE, BEFORE, BATCHES = 8, 3, 6
"""Images per batch, batches before the state is taken, and in all: momentum, caches and averages are in use then."""
CONDITION = Condition("gaussian_noise", 5)
TASK = Task(load_card("fashion-mnist").class_list.names, crop_scale=(0.5, 1.0), family="cifar")
SMALL = {
    "boostadapter": {"positive_shots": 1, "negative_shots": 1},
    "dmn": {"memory_size": 1},
    "dpe": {"shots": 2},
    "rdumb": {"every": BATCHES - 1},
    "rotta": {"memory_size": 8, "update_every": SIZE // 2},
    "t3a": {"supports": 2},
    "tda": {"positive_shots": 1, "negative_shots": 1},
}
"""Memories that are full, and resets that come, within so short a stream."""
COMMON = small_settings(views=3, batch_size=SIZE)
SETTINGS = COMMON | {name: COMMON.get(name, {}) | own for name, own in SMALL.items()}
ONLINE = [name for name in METHODS.names() if METHODS.get(name).protocol == "online"]
WITHOUT_STATE = {"clipartt", "lame", "norm", "stata", "watt"}


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    """Load a teacher with three labelled images per class, of which few methods know."""
    teacher, dataset = load_teacher("embedded-resnet"), open_dataset("fashion-mnist", limit=150)
    images = [(dataset.read(entry, CLEAN).image, entry.label) for entry in dataset.entries(CLEAN)[120:]]
    return SupportedTeacher(teacher, encode_support(teacher, images, dataset.classes, "f" * 64), "text")


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    """Return the batches of a stream."""
    dataset = open_dataset("fashion-mnist", limit=BATCHES * SIZE)
    entries = list(dataset.entries(CONDITION))
    images = [dataset.read(entry, CONDITION).image for entry in entries]
    parts = [slice(start, start + SIZE) for start in range(0, len(entries), SIZE)]
    return [Batch(tuple(entry.id for entry in entries[part]), tuple(images[part])) for part in parts]


def test_looking_for_what_a_method_keeps_builds_no_text_tower(
    teacher: Teacher, batches: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of a method's own may be the image encoder, and never the text tower, which needs a tokenizer."""

    def refuse(_teacher: Teacher) -> None:
        raise AssertionError("the text tower was asked for")

    method = build("tent", teacher)
    monkeypatch.setattr(DelegatedEncoding, "text_tower", property(refuse))
    beginning = Beginning(method)
    run(method, batches[:1])
    assert beginning.state(method).changes, "there was something to be looked at"


def build(name: str, teacher: Teacher) -> Method[Any]:
    return build_method(name, teacher, TASK, build_parameters(name, SETTINGS.get(name, {})), 0)


def run(method: Method[Any], batches: list[Batch]) -> torch.Tensor:
    return torch.cat([answer(method, batch) for batch in batches])


def answer(method: Method[Any], batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return method.predict(Batch(batch.ids, batch.images)).logits


class Stream(NamedTuple):
    """A stream that was cut: the state after the first batches, and the answers to the others."""

    state: KeptState
    rest: torch.Tensor


@pytest.fixture(scope="module")
def cut(teacher: Teacher, batches: list[Batch]) -> Callable[[str], Stream]:
    """Return a function that cuts the stream of a method."""

    @cache
    def of(name: str) -> Stream:
        method = build(name, teacher)
        method.reset()
        beginning = Beginning(method)
        run(method, batches[:BEFORE])
        content = beginning.state(method).encode()
        return Stream(decode_state(content), run(method, batches[BEFORE:]))

    return of


def resumed(method: Method[Any], state: KeptState, batches: list[Batch]) -> torch.Tensor:
    """Return the answers of a method that has just been reset and given a state."""
    put_back(method, state)
    return run(method, batches[BEFORE:])


def put_back(method: Method[Any], state: KeptState) -> None:
    method.reset()
    Beginning(method).put_back(method, state)


@pytest.mark.parametrize("name", sorted(ONLINE))
@pytest.mark.usefixtures("one_thread")
def test_answers_after_a_state_was_put_back_are_those_of_the_whole_stream(
    name: str, cut: Callable[[str], Stream], teacher: Teacher, batches: list[Batch]
) -> None:
    """Bit by bit, in a method that was built anew, whatever it answered before."""
    method = build(name, teacher)
    assert torch.equal(resumed(method, cut(name).state, batches), cut(name).rest)
    assert torch.equal(resumed(method, cut(name).state, batches), cut(name).rest), "and again"
    method.reset()
    scratch = run(method, batches[BEFORE:])
    assert torch.equal(scratch, cut(name).rest) == (name in WITHOUT_STATE) == (not method.remembers)
    assert bool(cut(name).state.changes) == method.remembers


@pytest.mark.parametrize("name", sorted(set(ONLINE) - WITHOUT_STATE))
@pytest.mark.usefixtures("one_thread")
def test_every_item_of_a_state_matters(
    name: str, cut: Callable[[str], Stream], teacher: Teacher, batches: list[Batch]
) -> None:
    """Change one item of each kind, such as one layer's momentum or one entry's entropy: other answers follow."""
    method, (state, rest) = build(name, teacher), cut(name)
    silent = []
    for kind, others in changed_states(state).items():
        if not any(matters(method, other, batches, rest) for other in others):
            silent.append(kind)
    assert not silent


def matters(method: Method[Any], state: KeptState, batches: list[Batch], rest: torch.Tensor) -> bool:
    """Return whether a state gives other answers than ``rest``; none at all, where items contradict each other."""
    put_back(method, state)
    pairs = zip(batches[BEFORE:], rest.split(SIZE), strict=True)
    try:
        return any(not torch.equal(answer(method, batch), expected) for batch, expected in pairs)
    except (RuntimeError, IndexError):
        return True


def changed_states(state: KeptState) -> dict[str, list[KeptState]]:
    """Return states of which one item is another, by the kind of the item: a few items of each, larger and smaller."""
    found: dict[str, list[KeptState]] = {}
    for index, (path, plain) in enumerate(state.changes):
        for keys, tensor in leaves(plain):
            kind = re.sub(r"/_modules/[^/]*|/\d+|int \d+", "", path) + str(
                [key for key in keys if isinstance(key, str)]
            )
            if len(found.setdefault(kind, [])) >= 6:
                continue
            for change in range(2):
                other = copy.deepcopy(state)
                whole = [other.changes[index][1]]
                if tensor is not None:
                    tensors = {**other.tensors, tensor: changed_tensor(state.tensors[tensor], change)}
                    other = KeptState(tensors, other.changes, other.aliases, other.beginning)
                else:
                    put(whole, (0, *keys), changed_number(get(whole, (0, *keys)), change))
                    other.changes[index][1] = whole[0]
                found[kind].append(other)
    return found


def changed_tensor(value: torch.Tensor, change: int) -> torch.Tensor:
    if value.is_floating_point():
        return value * (1.5, -0.5)[change] + 0.1
    return (value.flip(0) + 1, torch.zeros_like(value))[change]


def changed_number(value: Any, change: int) -> Any:
    if isinstance(value, str):  # of a number that is not finite
        return "0.5"
    if isinstance(value, bool):
        return not value
    return (value + 1001, 0)[change] if isinstance(value, int) else (value * 1.5 + 0.1, -value - 1.0)[change]


def leaves(plain: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str | None]]:
    """Yield where numbers and tensors are in a plain value, with the number of a tensor."""
    if isinstance(plain, dict):
        ((kind, content),) = plain.items()
        if kind in ("tensor", "float"):
            yield (*keys, kind), content if kind == "tensor" else None
        elif kind == "object":
            for index, (_, value) in enumerate(content[1]):
                yield from leaves(value, (*keys, kind, 1, index, 1))
        elif kind == "dict":
            for index, (_, value) in enumerate(content):
                yield from leaves(value, (*keys, kind, index, 1))
        else:
            for index, value in enumerate(content):
                yield from leaves(value, (*keys, kind, index))
    elif isinstance(plain, int | float):
        yield keys, None


def get(value: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        value = value[key]
    return value


def put(value: Any, keys: tuple[Any, ...], new: Any) -> None:
    get(value, keys[:-1])[keys[-1]] = new


@dataclass
class Item:
    """An entry of a memory."""

    vector: torch.Tensor
    age: int = 0


class Pair(NamedTuple):
    """Two numbers."""

    left: float
    right: float


@dataclass(frozen=True)
class Edge:
    """A frozen one."""

    weights: torch.Tensor


class Keeper(Method):
    """A method of one's own that keeps whatever a test puts there."""

    name = "keeper"
    protocol = "online"

    def reset(self) -> None:
        self.kept: Any = None
        self.items: list[Item] = []
        self.recent: deque[float] = deque(maxlen=3)
        self.generator = torch.Generator().manual_seed(4)
        self.table: dict[Any, Any] = {}
        self.edge = Edge(torch.zeros(2))
        self.shared = self.also = torch.zeros(3)

    def predict(self, batch: Batch) -> Predictions:
        raise NotImplementedError


@pytest.fixture
def keeper(embedded_teacher: Teacher) -> Keeper:
    method = Keeper(embedded_teacher, TASK, Keeper.Parameters(), 0)
    method.reset()
    return method


def round_trip(method: Keeper) -> None:
    """Store the state of a method and put it back, after a reset."""
    changed = dict(vars(method))
    method.reset()
    beginning = Beginning(method)
    vars(method).update(changed)
    content = beginning.state(method).encode()
    method.reset()
    beginning.put_back(method, decode_state(content))


def test_containers_objects_and_generators_are_put_back(keeper: Keeper) -> None:
    keeper.items += [Item(torch.ones(2), 3), Item(torch.arange(2))]
    keeper.recent.extend([1.0, 2.0])
    expected = [float(torch.rand((), generator=keeper.generator)) for _ in range(2)][1]
    keeper.generator.manual_seed(4)
    torch.rand((), generator=keeper.generator)
    keeper.table = {3: Pair(1.5, float("inf")), (1, 2): {"a/b": None}, "x": {2, 5}}
    keeper.edge = Edge(torch.tensor([1.0, 2.0]))
    keeper.late = "added later"  # type: ignore[attr-defined]
    keeper.shared = keeper.also = torch.ones(3)
    round_trip(keeper)
    assert [(item.vector.tolist(), item.age, type(item)) for item in keeper.items] == [
        ([1, 1], 3, Item),
        ([0, 1], 0, Item),
    ]
    assert (list(keeper.recent), keeper.recent.maxlen) == ([1.0, 2.0], 3)
    assert float(torch.rand((), generator=keeper.generator)) == expected
    assert keeper.table == {3: Pair(1.5, float("inf")), (1, 2): {"a/b": None}, "x": {2, 5}}
    assert type(keeper.table[3]) is Pair
    assert keeper.edge.weights.tolist() == [1, 2]
    assert vars(keeper)["late"] == "added later"
    assert keeper.shared is keeper.also
    assert keeper.shared.tolist() == [1, 1, 1]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=VALUES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_plain_value_comes_back_as_it_was(keeper: Keeper, value: Any) -> None:
    keeper.kept = value
    round_trip(keeper)
    assert repr(keeper.kept) == repr(value)  # a NaN is not equal to itself


def test_what_the_method_was_built_from_is_neither_stored_nor_written_into(keeper: Keeper) -> None:
    before = keeper.class_weights.clone()
    keeper.kept = keeper.class_weights
    keeper.reset()
    beginning = Beginning(keeper)
    keeper.kept = torch.full_like(before, 7.0)
    state = beginning.state(keeper)
    assert [path for path, _ in state.changes] == ["/kept"]
    keeper.reset()
    keeper.kept = None
    beginning.put_back(keeper, state)
    assert torch.equal(keeper.class_weights, before)


def test_what_cannot_be_stored_is_named(keeper: Keeper) -> None:
    beginning = Beginning(keeper)
    keeper.table["lock"] = threading.Lock()
    with pytest.raises(
        UserError, match=r"method keeper keeps table, a lock, from image to image, which cannot be stored"
    ):
        beginning.state(keeper)


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "apm_tta.methods.base:Method", "pathlib:Path"])
def test_no_class_is_made_by_what_is_stored(name: str, keeper: Keeper) -> None:
    """A stored state is data: it names classes, and only dataclasses of the method's own package are made."""
    changes = [["/kept", {"object": [name, [["path", "x"]]]}]]
    with pytest.raises(ValueError, match=r"is no class of the method's package|is no dataclass"):
        Reader(keeper, {}).put_back(changes, [])


@pytest.mark.parametrize(
    "changes",
    [
        [["/nowhere/at/all", 1]],
        [["/kept", {"tensor": "12"}]],
        [["/generator", {"generator": {"tensor": "0"}}]],
        [["/kept", {"eval": "1"}]],
    ],
)
def test_a_state_that_does_not_fit_is_refused(changes: list[list[Any]], keeper: Keeper) -> None:
    with pytest.raises(ValueError, match="does not fit the method"):
        Reader(keeper, {"0": torch.zeros(3)}).put_back(changes, [])


def test_a_method_that_begins_otherwise_gets_no_state(cut: Callable[[str], Stream], teacher: Teacher) -> None:
    method = build("tent", teacher)
    method.reset()
    with torch.no_grad():
        next(iter(build("tent", teacher).encoder.parameters))  # type: ignore[attr-defined]
        method.encoder.parameters[0].add_(1e-6)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="begins otherwise here"):
        Beginning(method).put_back(method, cut("tent").state)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=60)
def test_damaged_bytes_are_no_state_or_another(position: int, value: int) -> None:
    """No byte makes the decoder raise anything but a ValueError; a digest beside the file finds what it cannot."""
    content = bytearray(KeptState({"0": torch.arange(6.0)}, [["/kept", {"tensor": "0"}]], [], "abc").encode())
    content[position % len(content)] = value
    with suppress(ValueError):
        decode_state(bytes(content))
