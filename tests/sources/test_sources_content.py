"""The digest of data: equal content has one digest, in whatever order and however often it is shared; else another."""

from __future__ import annotations

import copy
import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.sources.graph_digest import Parts, graph_digest
from apm_tta.sources.object_parts import leaf, parts


def digest(value: Any) -> str:
    return graph_digest([value], "value", leaf, parts).sha256


def canonical(value: Any) -> Any:
    """Return what tells two of the values below apart, types included."""
    if isinstance(value, dict):
        return ("dict", tuple((canonical(key), canonical(item)) for key, item in value.items()))
    if isinstance(value, frozenset | set):
        return (type(value).__name__, tuple(sorted(repr(canonical(item)) for item in value)))
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(map(canonical, value)))
    return (type(value).__name__, repr(value))


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.complex_numbers(allow_nan=False)
)
# Few different ones, so that two values are often the same, or nearly.
values = st.recursive(
    st.sampled_from([0, 1, 1.0, True, None, "", "a", b"a", -0.0, 0.0]) | atoms,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2)
        | st.frozensets(st.text("ab", max_size=1) | st.integers(0, 2), max_size=3)
    ),
    max_leaves=6,
)


@given(values, values)
def test_two_values_have_one_digest_where_they_are_the_same(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))


@given(values)
def test_copies_and_pickles_have_the_digest_of_the_original(value: Any) -> None:
    """In a copy nothing is shared that was not, in a pickle other addresses and sets of another order."""
    assert digest(value) == digest(copy.deepcopy(value)) == digest(pickle.loads(pickle.dumps(value)))
    assert digest([value, value]) == digest([value, copy.deepcopy(value)])


@given(st.lists(st.integers(0, 10**9) | st.text(), unique=True), st.randoms())
def test_a_set_has_no_order_and_a_list_has_one(items: list[Any], chance: random.Random) -> None:
    shuffled = chance.sample(items, len(items))
    assert digest(set(items)) == digest(set(shuffled))
    assert (digest(items) == digest(shuffled)) == (items == shuffled)


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.zeros(0, 3),
        torch.tensor(3, dtype=torch.bfloat16),
        torch.tensor([1 + 2j]).conj(),
        torch.nn.Parameter(torch.ones(2)),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.array([1, "a", None], dtype=object),
        np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
        np.float32(1.5),
        10**6000,
        bytearray(b"abc"),
        range(3),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_numbers_of_every_kind_survive_a_pickle(value: Any) -> None:
    assert digest(value) == digest(pickle.loads(pickle.dumps(value)))
    assert digest(value) != digest(None)


def test_what_leads_back_to_itself_has_a_digest() -> None:
    """Which is that of every other thing that nobody can tell from it."""
    one: list[Any] = [1]
    one.append(one)
    unrolled: list[Any] = [1, [1]]
    unrolled[1].append(unrolled)
    other: list[Any] = [2]
    other.append(other)
    assert digest(one) == digest(unrolled) != digest(other)


def test_depth_has_no_limit() -> None:
    """A chain of twenty thousand lists, longer than Python's stack."""

    def chain(end: int) -> list[Any]:
        made: list[Any] = [end]
        for _ in range(20_000):
            made = [made]
        return made

    assert digest(chain(1)) == digest(chain(1)) != digest(chain(2))


Graph = list[tuple[int, bool, list[int]]]
"""Of each node: its label, whether the order of its children counts, and which they are."""


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    size = draw(st.integers(1, 6))
    node = st.tuples(st.integers(0, 1), st.booleans(), st.lists(st.integers(0, size - 1), max_size=3))
    return draw(st.lists(node, min_size=size, max_size=size))


class Node:
    """Node of a graph, an object of its own."""

    def __init__(self, label: int, ordered: bool) -> None:
        self.label, self.ordered = label, ordered
        self.children: list[Node] = []


def built(graph: Graph) -> list[Node]:
    nodes = [Node(label, ordered) for label, ordered, _ in graph]
    for node, (_, _, children) in zip(nodes, graph, strict=True):
        node.children = [nodes[child] for child in children]
    return nodes


def digest_of(node: Node) -> str:
    def expand(each: Node) -> Parts:
        return Parts(f"{each.label}{each.ordered}".encode(), [("", child) for child in each.children], each.ordered)

    return graph_digest(node, "node", lambda _: None, expand).sha256


def alike(graph: Graph) -> list[int]:
    """Return the class of each node: the coarsest in which nobody can tell two nodes of one apart."""
    classes = [0] * len(graph)
    for _ in graph:
        seen = [
            (
                label,
                ordered,
                tuple(map(classes.__getitem__, children) if ordered else sorted(map(classes.__getitem__, children))),
            )
            for label, ordered, children in graph
        ]
        classes = [seen.index(each) for each in seen]
    return classes


@given(graphs(), graphs())
def test_two_nodes_have_one_digest_only_where_nobody_can_tell_them_apart(one: Graph, other: Graph) -> None:
    """Of two graphs, against a plain refinement of both at once."""
    both = [*one, *((label, ordered, [child + len(one) for child in children]) for label, ordered, children in other)]
    classes: dict[str, set[int]] = {}
    for node, alike_class in zip((*built(one), *built(other)), alike(both), strict=True):
        classes.setdefault(digest_of(node), set()).add(alike_class)
    assert all(len(found) == 1 for found in classes.values())


@given(graphs(), st.randoms())
def test_a_graph_has_its_digest_in_whatever_order_it_is_built(graph: Graph, chance: random.Random) -> None:
    """Other addresses, other indices, and children without order in another one."""
    places = chance.sample(range(len(graph)), len(graph))
    moved: Graph = [(0, True, [])] * len(graph)
    for place, (label, ordered, children) in zip(places, graph, strict=True):
        mapped = [places[child] for child in children]
        moved[place] = (label, ordered, mapped if ordered else chance.sample(mapped, len(mapped)))
    before, after = built(graph), built(moved)
    assert [digest_of(node) for node in before] == [digest_of(after[place]) for place in places]


@given(graphs())
def test_what_is_shared_counts_as_often_as_it_is_met(graph: Graph) -> None:
    """A graph without cycles, against its tree, in which every node is there as often as a path leads to it."""
    acyclic = [
        (label, ordered, [child for child in children if child > at])
        for at, (label, ordered, children) in enumerate(graph)
    ]

    def tree(at: int) -> Node:
        label, ordered, children = acyclic[at]
        node = Node(label, ordered)
        node.children = [tree(child) for child in children]
        return node

    classes, digests = alike(acyclic), [digest_of(tree(at)) for at in range(len(graph))]
    assert digests == [digest_of(node) for node in built(acyclic)]
    assert [digests.index(each) for each in digests] == [classes.index(each) for each in classes]
