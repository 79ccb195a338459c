"""A plan covers every sample of every cell exactly once."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.harness.plan import SHARD_SIZE, Cell, Shard, plan_shards, select_part

METHODS = ["zeroshot", "ensemble", "apm"]
conditions = st.builds(Condition, st.sampled_from(["fog", "snow", "gaussian_noise"]), st.integers(1, 5)) | st.just(
    CLEAN
)
Plan = tuple[list[Cell], dict[Condition, int], int]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw cells, the number of samples under each condition, and a shard size."""
    samples = draw(st.dictionaries(conditions, st.integers(0, 60), min_size=1, max_size=6))
    methods = draw(st.lists(st.sampled_from(METHODS), min_size=1, unique=True))
    seed = draw(st.integers(0, 3))
    cells = [Cell("d", condition, "t", method, seed) for condition in samples for method in methods]
    return cells, samples, draw(st.integers(1, 25))


@given(plans())
def test_every_sample_of_every_cell_is_covered_exactly_once(plan: Plan) -> None:
    cells, samples, size = plan
    shards = plan_shards(cells, samples, size)
    for cell in cells:
        own = [shard for shard in shards if cell in shard.cells]
        covered = [index for shard in own for index in range(shard.start, shard.stop)]
        assert covered == list(range(samples[cell.condition]))
        assert all(shard.condition == cell.condition for shard in own)
    assert all(0 < shard.stop - shard.start <= size for shard in shards)


@given(plans())
def test_all_methods_of_a_condition_share_its_shards(plan: Plan) -> None:
    """An image is therefore decoded once for all of them."""
    cells, samples, size = plan
    for shard in plan_shards(cells, samples, size):
        assert list(shard.cells) == [cell for cell in cells if cell.condition == shard.condition]


@given(plans())
def test_no_two_answers_go_into_one_file(plan: Plan) -> None:
    shards = plan_shards(*plan)
    files = [shard.file_of(cell) for shard in shards for cell in shard.cells]
    assert len(set(files)) == len(files)
    assert all(file.parts[0] == "records" and file.suffix == ".parquet" and not file.is_absolute() for file in files)


@given(plans(), plans())
def test_seeds_of_one_folder_do_not_share_files(one: Plan, other: Plan) -> None:
    files = [
        {(cell.seed, shard.file_of(cell)) for shard in plan_shards(*plan) for cell in shard.cells}
        for plan in (one, other)
    ]
    for seed, file in files[0]:
        assert all(other_seed == seed for other_seed, same in files[1] if same == file)


@given(plans())
def test_planning_is_deterministic(plan: Plan) -> None:
    """A resumed run must find its files where it left them."""
    assert plan_shards(*plan) == plan_shards(*plan)


@given(plans())
def test_shards_come_condition_by_condition_and_range_by_range(plan: Plan) -> None:
    cells, samples, size = plan
    order = list(samples)
    shards = plan_shards(cells, samples, size)
    places = [(order.index(shard.condition), shard.index, shard.start) for shard in shards]
    assert places == sorted(places)
    for before, after in pairwise(shards):
        if before.condition == after.condition:
            assert (after.index, after.start) == (before.index + 1, before.stop)


@given(plans(), st.integers(1, 7), st.randoms(use_true_random=False))
def test_parts_cover_the_work_once(plan: Plan, parts: int, random: Random) -> None:
    """However its files are dealt; a shard is split where its methods are of different parts."""
    work = plan_shards(*plan)
    part_of = {unit.file_of(cell): random.randint(1, parts) for unit in work for cell in unit.cells}
    divided = {part: select_part(work, part_of, part) for part in range(1, parts + 1)}
    files = {part: [unit.file_of(cell) for unit in own for cell in unit.cells] for part, own in divided.items()}
    assert {file: part for part, own in files.items() for file in own} == part_of
    assert sum(map(len, files.values())) == len(part_of)
    assert all(unit.cells for own in divided.values() for unit in own)


def test_file_names_are_pinned() -> None:
    """With different names a run of an earlier version could not be resumed."""
    fog = Condition("fog", 3)
    files = [
        str(Shard(condition, index, 0, 1, ()).file_of(Cell("d", condition, "t", "apm", 7)))
        for condition, index in ((CLEAN, 0), (fog, 12))
    ]
    assert files == [
        "records/apm/clean/episodic-seed-7-shard-00000.parquet",
        "records/apm/fog-3/episodic-seed-7-shard-00012.parquet",
    ]


def test_a_cell_of_2001_samples_has_two_shards_by_default() -> None:
    shards = plan_shards([Cell("d", CLEAN, "t", "apm", 0)], {CLEAN: SHARD_SIZE + 1})
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 2000), (2000, 2001)]
