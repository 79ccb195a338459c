"""The cache of a stream answers a batch as it answers its images one after another."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.stream_cache import Entering, StreamCache


def one_key(value: float) -> Tensor:
    return torch.tensor([[value]])


def test_it_keeps_the_most_confident_of_a_class_and_the_older_of_equals() -> None:
    cache = StreamCache(classes=2, shots=2, beta=0.0, like=torch.zeros(2, 1))

    def enter(entropy: float, key: float) -> list[tuple[float, float]]:
        cache.stream(one_key(key), [Entering(0, 1, entropy)])
        return list(zip(cache.entropies[1], cache.keys(1)[:, 0].tolist(), strict=True))

    enter(0.5, 1.0)
    assert enter(0.25, 2.0) == [(0.25, 2.0), (0.5, 1.0)]
    assert enter(0.5, 3.0) == [(0.25, 2.0), (0.5, 1.0)]
    assert enter(0.375, 4.0) == [(0.25, 2.0), (0.375, 4.0)]
    assert enter(0.25, 5.0) == [(0.25, 2.0), (0.25, 5.0)]
    assert 0 not in cache.entropies
    assert cache.stream(one_key(0.0), []).tolist() == [[0.0, 2.0]]


def plain(features: Tensor, predicted: list[int], entropies: list[float], values: Tensor, shots: int) -> Tensor:
    """Let images enter one after another, and sum over lists."""
    cache: dict[int, list[tuple[float, Tensor, Tensor]]] = {}
    answers = []
    for feature, own, entropy, value in zip(features, predicted, entropies, values, strict=True):
        entries = cache.setdefault(own, [])
        entries.append((entropy, feature, value))
        entries.sort(key=lambda entry: entry[0])
        del entries[shots:]
        found = [entry for each in cache.values() for entry in each]
        answers.append(sum((torch.exp(-3 * (1 - feature @ key)) * value for _, key, value in found), torch.zeros(4)))
    return torch.stack(answers)


@given(st.data())
def test_a_stream_in_any_parts_is_answered_as_by_lists(data: st.DataObject) -> None:
    """Few classes and equal entropies: entries are replaced within a batch, by one another and by others."""
    images = data.draw(st.integers(1, 40))
    seed, shots = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(seed)
    features = normalize(torch.randn(images, 6, generator=generator), dim=-1)
    predicted = torch.randint(4, (images,), generator=generator).tolist()
    entropies = (torch.randint(9, (images,), generator=generator) / 8).tolist()
    masks = torch.randint(2, (images, 4), generator=generator).float()
    cuts = sorted(data.draw(st.lists(st.integers(0, images), max_size=5)))
    parts = [slice(*each) for each in zip([0, *cuts], [*cuts, images], strict=True) if each[0] < each[1]]
    for values in (None, masks):
        cache = StreamCache(4, shots, 3.0, features, valued=values is not None)
        answers = []
        for part in parts:
            own = [Entering(i, predicted[part][i], entropies[part][i]) for i in range(part.stop - part.start)]
            answers.append(cache.stream(features[part], own, None if values is None else values[part]))
        expected = torch.nn.functional.one_hot(torch.tensor(predicted), 4).float() if values is None else values
        torch.testing.assert_close(
            torch.cat(answers), plain(features, predicted, entropies, expected, shots), rtol=0, atol=1e-4
        )


def test_images_that_do_not_enter_are_answered_too() -> None:
    cache = StreamCache(3, 1, 1.0, torch.zeros(3, 2), valued=True)
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    values = torch.tensor([[9.0, 9.0, 9.0], [1.0, 0.0, 1.0], [9.0, 9.0, 9.0]])
    near, far = 1.0, torch.tensor(-1.0).exp().item()
    answers = cache.stream(features, [Entering(1, 0, 0.5)], values)
    torch.testing.assert_close(answers, torch.tensor([[0.0] * 3, [near, 0.0, near], [far, 0.0, far]]))
    torch.testing.assert_close(cache.stream(features[1:2], [], values[1:2]), torch.tensor([[near, 0.0, near]]))
