"""The pretended device does what CUDA does, as far as placement goes, and stubs no more than is listed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from pretended_cuda import CUDA, STUBS, DeviceTensor, Elsewhere, Waits, as_seen, pretended_cuda
from torch import Tensor, nn

from apm_tta.devices import resolve_device


@pytest.fixture
def waits() -> Iterator[Waits]:
    with pretended_cuda() as counted:
        yield counted


@pytest.fixture
def here(waits: Waits) -> Tensor:
    """Return a tensor of the device."""
    values = torch.arange(12.0).view(3, 4).to("cuda")
    waits.clear()
    return values


def test_the_list_of_stubs_is_closed() -> None:
    """Beside the figures of a device that is there, nothing but streams, events, pinned memory and the allocator."""
    assert {group: sorted(names) for group, names in STUBS.items()} == {
        "that there is one device": [
            *("cuda.current_device", "cuda.default_generators", "cuda.device_count", "cuda.get_device_capability"),
            *("cuda.get_device_name", "cuda.get_device_properties", "cuda.is_available", "cuda.is_bf16_supported"),
            *("cuda.is_initialized", "cuda.set_device"),
        ],
        "streams and events": [
            *("accelerator.current_stream", "cuda.Event", "cuda.Stream", "cuda.current_stream"),
            *("cuda.default_stream", "cuda.stream", "cuda.synchronize"),
        ],
        "pinned memory": ["Tensor.is_pinned", "Tensor.pin_memory", "Tensor.record_stream"],
        "the allocator's figures": [
            *("cuda.empty_cache", "cuda.max_memory_allocated", "cuda.mem_get_info", "cuda.memory_allocated"),
            "cuda.reset_peak_memory_stats",
        ],
    }


def test_torch_is_as_it_was_afterwards() -> None:
    names = [name for group in STUBS.values() for name in group]
    owners = {name: vars(torch)[name.partition(".")[0]] for name in names}
    before = {name: vars(owners[name]).get(name.partition(".")[2]) for name in names}
    with pretended_cuda():
        assert torch.cuda.is_available()
    assert {name: vars(owners[name]).get(name.partition(".")[2]) for name in names} == before


def test_the_package_finds_the_device_and_no_second_one(waits: Waits) -> None:
    assert resolve_device("auto") == torch.device("cuda")
    with pytest.raises(Exception, match="device 'cuda:1' is not available; there are: cpu, cuda:0"):
        resolve_device("cuda:1")


@pytest.mark.parametrize(
    "meet",
    [
        lambda here, there: here + there,
        lambda here, there: here @ there.T,
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.where(here > 0, here, there),
        lambda here, there: here.add_(there),
        lambda here, there: torch.stack([here.sum(), there.sum()]),
        lambda here, there: nn.functional.linear(here, there),
        lambda here, there: nn.functional.layer_norm(here, (4,), there[0], there[1]),
        lambda here, there: there[here.long()],
    ],
)
def test_tensors_of_two_devices_do_not_meet(meet: Callable[[Tensor, Tensor], Tensor], here: Tensor) -> None:
    with pytest.raises(Elsewhere):
        meet(here, torch.ones(3, 4))


def test_a_number_of_the_cpu_may_take_part(here: Tensor) -> None:
    for result in (here * torch.tensor(2.0), torch.where(here > 3, here, torch.tensor(0.0)), here.clamp(min=1)):
        assert isinstance(result, DeviceTensor)
    with pytest.raises(Elsewhere):
        torch.ones(3) * here.sum()  # a number of the device does not


@pytest.mark.parametrize(
    ("reads", "counted"),
    [
        (lambda here: here.sum().item(), 1),
        (lambda here: here.cpu(), 1),
        (lambda here: here.to("cpu"), 1),
        (lambda here: here.tolist(), 1),
        (lambda here: bool((here > 0).all()), 1),
        (lambda here: int(here[0, 0]), 1),
        (lambda here: here.nonzero(), 1),
        (lambda here: here[here > 3], 1),
        (lambda here: torch.masked_select(here, here > 3), 1),
        (lambda here: torch.empty(3, 4).copy_(here), 1),
        (lambda here: torch.equal(here, here), 1),
        (lambda here: here.unique(), 1),
        (lambda here: repr(here), 1),
        (lambda _: torch.cuda.synchronize(), 1),
        (lambda _: torch.cuda.current_stream().synchronize(), 1),
        (lambda _: torch.tensor([1.0, 2.0], device="cuda"), 1),
        (lambda here: torch.ones(3).to(here), 1),
        (lambda here: here[[0, 1]], 1),
        (lambda here: here[0:2].argmax(-1), 0),
        (lambda here: here.masked_fill(here > 3, 0), 0),
        (lambda here: here.clone().__setitem__(here > 3, 0.0), 0),
        (lambda here: nn.functional.one_hot(here.argmax(-1), 4), 0),
        (lambda _: torch.ones(3).pin_memory().to("cuda", non_blocking=True), 0),
        (lambda here: here.to("cpu", non_blocking=True), 0),
        (lambda here: torch.zeros(3, device="cuda") + torch.arange(3, device=here.device), 0),
        (lambda here: here.softmax(-1).double().float().flatten()[2:].sort(), 0),
    ],
)
def test_waits_are_counted(reads: Callable[[Tensor], object], counted: int, here: Tensor, waits: Waits) -> None:
    reads(here)
    assert waits.total == counted, waits.reasons


def test_numpy_is_refused(here: Tensor) -> None:
    for read in (Tensor.numpy, np.asarray):
        with pytest.raises(TypeError, match=r"Use Tensor\.cpu"):
            read(here)


def test_a_copy_that_nobody_waited_for_is_nonsense(here: Tensor) -> None:
    copied = here.to("cpu", non_blocking=True)
    assert copied.isnan().all()
    torch.cuda.current_stream().synchronize()
    assert torch.equal(copied, torch.arange(12.0).view(3, 4))


def test_the_time_of_an_event_is_known_after_a_wait(waits: Waits) -> None:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    end.record()
    with pytest.raises(RuntimeError, match="not ready"):
        start.elapsed_time(end)
    end.synchronize()
    assert start.elapsed_time(end) >= 0
    end.synchronize()
    assert waits.reasons == {"synchronize": 1}, "an event that is over is not waited for"


def test_gradients_optimisers_and_copies_of_modules_are_those_of_the_cpu(waits: Waits) -> None:
    """Through a layer norm, a fused Adam, a plain SGD, and a copy of the module."""
    weights = {}
    for device in ("cpu", "cuda"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))
            images = torch.randn(5, 4)
        parameter = network[0].weight
        moved = copy.deepcopy(network.to(device))
        assert network[0].weight is parameter, "a parameter stays the same object"
        assert isinstance(moved[0].weight, nn.Parameter)
        for optimiser in (
            torch.optim.Adam(moved.parameters(), fused=True),
            torch.optim.SGD(moved.parameters(), 0.1, 0.9),
        ):
            for _ in range(2):
                optimiser.zero_grad()
                moved(images.to(device)).softmax(-1).square().sum().backward()
                optimiser.step()
        assert {value.device.type for value in moved.state_dict().values()} == {device}
        weights[device] = [as_seen(value) for value in moved.state_dict().values()]
    for on_cpu, on_device in zip(*weights.values(), strict=True):
        assert torch.equal(on_cpu, on_device)


def test_a_gradient_finds_its_way_back_to_the_cpu(waits: Waits) -> None:
    weight = torch.ones(3, requires_grad=True)
    (weight.to("cuda") * 2).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0, 2.0, 2.0]


def test_autocast_is_the_devices_own(here: Tensor) -> None:
    there = torch.ones(4, 4)
    for kind, types in (("cuda", (torch.bfloat16, torch.float32)), ("cpu", (torch.float32, torch.bfloat16))):
        with torch.autocast(kind, torch.bfloat16):
            assert ((here @ here.T).dtype, (there @ there).dtype) == types


def test_random_numbers_of_the_device_are_its_own(waits: Waits) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = torch.get_rng_state()
        drawn = torch.randn(4, device="cuda"), torch.empty(4, device="cuda").normal_()
        assert all(isinstance(each, DeviceTensor) for each in drawn)
        assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.randn(4, device="cuda", generator=torch.Generator())


def test_threads_find_the_device_too(here: Tensor) -> None:
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: torch.ones(3, 4).to("cuda") + here).result().device == CUDA
