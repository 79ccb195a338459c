"""SHA-256 of whatever hangs together: of a graph of parts, with cycles, the same in every process.

Graphs of the same shape have one digest, whatever the addresses of their nodes, the order in which these were found,
and the order of children that have none; whether a part without cycles is shared, or there twice, does not matter.
Where two nodes have one digest, nobody who walks along their edges can tell them apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Parts(NamedTuple):
    """One node, as ``expand`` describes it.

    Attributes:
        label: what it is by itself.
        children: what it consists of, each with the words that lead there in a message.
        ordered: whether the order of children counts.
    """

    label: bytes
    children: Sequence[tuple[str, Any]] = ()
    ordered: bool = True


class Undigestible(Exception):
    """Something has no content that could be compared between processes.

    Attributes:
        path: the words that lead to it from the root.
        reason: why it has none.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass
class _Node:
    value: Any  # kept alive: an address that is used again would be taken for the same thing
    parent: int
    step: str
    label: bytes = b""
    children: list[bytes | int] | None = None  # digests of leaves, indices of nodes
    ordered: bool = True


@dataclass(frozen=True)
class GraphDigest:
    """The outcome.

    Attributes:
        sha256: hexadecimal.
        values: everything that was visited and is no leaf.
    """

    sha256: str
    values: tuple[Any, ...]


def graph_digest(
    root: Any, name: str, leaf: Callable[[Any], bytes | None], expand: Callable[[Any], Parts]
) -> GraphDigest:
    """Digest ``root`` and everything that it leads to. No recursion: depth is as large as memory.

    Args:
        root: where to begin.
        name: of the root, in messages.
        leaf: returns the content of a value without children; None for every other one.
        expand: describes such a value, or refuses it by a TypeError; called once per object.

    Raises:
        Undigestible: for what ``expand`` refuses, with the path to it.
    """
    nodes = _discover(root, name, leaf, expand)
    digests: list[bytes] = [b""] * len(nodes)
    for component in _components(nodes):
        _digest_component(component, nodes, digests)
    return GraphDigest(digests[0].hex(), tuple(node.value for node in nodes))


def _discover(root: Any, name: str, leaf: Callable[[Any], bytes | None], expand: Callable[[Any], Parts]) -> list[_Node]:
    nodes, known = [_Node(root, -1, name)], {id(root): 0}
    index = 0
    while index < len(nodes):
        node = nodes[index]
        try:
            parts = expand(node.value)
        except Exception as error:  # whatever an object does when it is looked at
            kind = "" if isinstance(error, TypeError) else f"{type(error).__name__}: "
            raise Undigestible(_path(nodes, index), " ".join(f"{kind}{error}".split())) from error
        node.label, node.ordered, node.children = parts.label, parts.ordered, []
        for step, value in parts.children:
            content = leaf(value)
            if content is not None:
                node.children.append(hashlib.sha256(content).digest())
                continue
            child = known.get(id(value))
            if child is None:
                child = known[id(value)] = len(nodes)
                nodes.append(_Node(value, index, step))
            node.children.append(child)
        index += 1
    return nodes


def _path(nodes: Sequence[_Node], index: int) -> str:
    steps = []
    while index >= 0:
        steps.append(nodes[index].step)
        index = nodes[index].parent
    return "".join(reversed(steps))


def _components(nodes: Sequence[_Node]) -> list[list[int]]:
    """Return strongly connected components, each behind those that it leads to (Tarjan, without recursion)."""
    order: list[int | None] = [None] * len(nodes)
    low, on_stack = [0] * len(nodes), [False] * len(nodes)
    stack: list[int] = []
    found: list[list[int]] = []
    count = 0
    for start in range(len(nodes)):
        if order[start] is not None:
            continue
        work = [(start, 0)]
        while work:
            node, position = work.pop()
            if position == 0:
                order[node] = low[node] = count
                count += 1
                stack.append(node)
                on_stack[node] = True
            children = nodes[node].children or []
            for at in range(position, len(children)):
                child = children[at]
                if isinstance(child, bytes):
                    continue
                if order[child] is None:
                    work += [(node, at + 1), (child, 0)]
                    break
                if on_stack[child]:
                    low[node] = min(low[node], order[child] or 0)
            else:
                if low[node] == order[node]:
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack[component[-1]] = False
                    found.append(component)
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
    return found


def _digest_component(component: Sequence[int], nodes: Sequence[_Node], digests: list[bytes]) -> None:
    """Digest nodes whose other children have their digests.

    Of a cycle: every node has a colour, which all of its children's colours refine until no more can be told apart
    (Weisfeiler and Leman). The colours of the whole cycle belong to each node's digest: two cycles with the same ones
    are the same.
    """
    (first, *others) = component
    if not others and first not in (nodes[first].children or []):
        digests[first] = _combined(nodes[first], digests)
        return
    for index in component:
        digests[index] = hashlib.sha256(nodes[index].label).digest()
    told_apart = 0
    while len({digests[index] for index in component}) > told_apart:
        told_apart = len({digests[index] for index in component})
        refined = {
            index: hashlib.sha256(digests[index] + _combined(nodes[index], digests)).digest() for index in component
        }
        for index, digest in refined.items():
            digests[index] = digest
    everything = b"".join(sorted({digests[index] for index in component}))
    for index in component:
        digests[index] = hashlib.sha256(b"cycle" + digests[index] + everything).digest()


def _combined(node: _Node, digests: Sequence[bytes]) -> bytes:
    children = [child if isinstance(child, bytes) else digests[child] for child in node.children or []]
    if not node.ordered:
        children.sort()
    return hashlib.sha256(len(node.label).to_bytes(8, "big") + node.label + b"".join(children)).digest()
