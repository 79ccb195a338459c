"""Every draw has its own seed, the same on every machine; global random states are neither used nor changed."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.randomness import numpy_generator, seed_for, torch_generator

run_seeds = st.integers(0, 2**63 - 1)
# The separator cannot occur in them: ids are paths in archives, and purposes are written in this package.
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
keys = st.tuples(run_seeds, words, words)


@given(keys, keys)
def test_a_different_run_image_or_purpose_has_a_different_seed(
    one: tuple[int, str, str], other: tuple[int, str, str]
) -> None:
    assert (seed_for(*one) == seed_for(*other)) == (one == other)


@given(run_seeds, words, words, words)
def test_moving_letters_from_the_id_to_the_purpose_changes_the_seed(seed: int, a: str, b: str, c: str) -> None:
    """The three parts are separated, not just concatenated: ("ab", "c") is not ("a", "bc")."""
    if b:
        assert seed_for(seed, a + b, c) != seed_for(seed, a, b + c)


@given(keys)
def test_a_seed_follows_its_definition_and_fits_every_generator(key: tuple[int, str, str]) -> None:
    """63 bits of SHA-256 of the three, read as a big-endian number."""
    seed = seed_for(*key)
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).hexdigest()
    assert seed == int(digest[:16], 16) // 2
    assert 0 <= seed < 2**63
    torch_generator(*key)
    numpy_generator(*key)


def test_seeds_are_pinned() -> None:
    """A change here would change every corrupted image and every fresh APM ever recorded."""
    seed = 6332739419317727915
    assert seed_for(0, "test/00000", "corruption gaussian_noise 3") == seed
    drawn = numpy_generator(0, "test/00000", "corruption gaussian_noise 3").bit_generator
    assert drawn.state == np.random.PCG64(seed).state
    assert torch_generator(0, "test/00000", "corruption gaussian_noise 3").initial_seed() == seed


def test_equal_keys_draw_the_same_and_different_keys_draw_differently() -> None:
    def numpy_draw(*key: object) -> list[float]:
        return numpy_generator(*key).normal(size=4).tolist()  # type: ignore[arg-type]

    def torch_draw(*key: object) -> list[float]:
        return torch.randn(4, generator=torch_generator(*key)).tolist()  # type: ignore[arg-type]

    for draw in (numpy_draw, torch_draw):
        assert draw(1, "a", "p") == draw(1, "a", "p")
        others = [draw(*key) for key in [(1, "a", "p"), (2, "a", "p"), (1, "b", "p"), (1, "a", "q")]]
        assert len({tuple(values) for values in others}) == 4


def test_global_random_states_are_neither_read_nor_changed() -> None:
    draws = []
    for seed in (1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = np.random.get_state()[1].copy(), torch.get_rng_state()
        draws.append(
            (numpy_generator(0, "a", "p").random(), torch.rand(1, generator=torch_generator(0, "a", "p")).item())
        )
        assert np.array_equal(before[0], np.random.get_state()[1])
        assert torch.equal(before[1], torch.get_rng_state())
    assert draws[0] == draws[1]
