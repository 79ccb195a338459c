from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.methods.encoder import AdaptableEncoder, normalisation_layers, require_normalisation
from apm_tta.teachers import Teacher


def images(count: int = 6, side: int = 16) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def bits(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_bits(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_layers_are_those_with_a_scale_or_a_shift() -> None:
    layers = OrderedDict(
        batch1=nn.BatchNorm1d(4),
        batch2=nn.BatchNorm2d(4),
        synchronised=nn.SyncBatchNorm(4),
        layer=nn.LayerNorm(4),
        group=nn.GroupNorm(2, 4),
        inside=nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, bias=False)),
        empty_batch=nn.BatchNorm2d(4, affine=False),
        empty_layer=nn.LayerNorm(4, elementwise_affine=False),
        linear=nn.Linear(4, 4),
    )
    found = normalisation_layers(nn.Sequential(layers))
    assert list(found) == ["batch1", "batch2", "synchronised", "layer", "group", "inside.1"]


def test_layers_of_timms_own_classes_are_found() -> None:
    import timm

    model = timm.create_model("efficientnet_lite0", pretrained=False)  # BatchNormAct2d
    assert len(normalisation_layers(model)) == sum("running_mean" in name for name in model.state_dict()) > 40
    model = timm.create_model("convnext_atto", pretrained=False)  # LayerNorm2d
    assert {type(layer).__name__ for layer in normalisation_layers(model).values()} >= {"LayerNorm2d"}


def test_parameters_are_those_of_the_layers_and_of_nothing_else(embedded_teacher: Teacher) -> None:
    encoder = embedded_teacher.image_encoder
    of_norms = AdaptableEncoder(encoder, normalisation_layers(encoder))
    assert [tuple(parameter.shape) for parameter in of_norms.parameters] == [(128,)] * 20
    assert all(parameter.requires_grad for parameter in of_norms.parameters)
    assert len(AdaptableEncoder(encoder, None).parameters) == len(list(encoder.parameters()))
    one = AdaptableEncoder(encoder, ["visual.ln_post"])
    assert torch.equal(
        torch.stack(one.parameters), torch.stack([encoder.visual.ln_post.weight, encoder.visual.ln_post.bias])
    )
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("layers", ["norm", "all"])
def test_a_restored_encoder_is_the_source_to_the_bit(layers: str, embedded_teacher: Teacher) -> None:
    encoder = embedded_teacher.image_encoder
    before = bits(encoder)
    adaptable = AdaptableEncoder(encoder, normalisation_layers(encoder) if layers == "norm" else None)
    pixels = images(4, 32)
    with torch.no_grad():
        expected = encoder(pixels)
        assert torch.equal(adaptable(pixels), expected)
    optimizer = torch.optim.AdamW(adaptable.parameters, lr=0.1)
    adaptable(pixels).square().sum().backward()
    optimizer.step()
    assert (adaptable(pixels).detach() - expected).abs().max() > 0.1
    assert same_bits(encoder, before), "the teacher moved"
    adaptable.restore()
    with torch.no_grad():
        assert torch.equal(adaptable(pixels), expected)
    assert same_bits(adaptable.network, before)
    assert all(parameter.grad is None for parameter in adaptable.parameters)


def test_statistics_of_the_source_are_left_alone(batch_norm_encoder: nn.Module) -> None:
    before = bits(batch_norm_encoder)
    adaptable = AdaptableEncoder(batch_norm_encoder, None)
    with torch.no_grad():
        assert torch.equal(adaptable(images()), batch_norm_encoder(images()))
    assert same_bits(adaptable.network, before)


def test_statistics_of_the_batch_are_those_of_training_mode_without_dropout(batch_norm_encoder: nn.Module) -> None:
    before = bits(batch_norm_encoder)
    adaptable = AdaptableEncoder(batch_norm_encoder, None, statistics="batch")
    trained = copy.deepcopy(batch_norm_encoder)
    for layer in trained:  # type: ignore[attr-defined]
        layer.train(isinstance(layer, nn.BatchNorm2d))
    with torch.no_grad():
        first = adaptable(images())
        torch.testing.assert_close(first, trained(images()), rtol=0, atol=1e-6)
        assert torch.equal(adaptable(images()), first), "a batch left something behind"
        assert (first - batch_norm_encoder(images())).abs().max() > 0.1
        assert (adaptable(images()[:3]) - first[:3]).abs().max() > 0.01
    assert same_bits(batch_norm_encoder, before)


def test_blended_statistics_always_start_from_the_sources(batch_norm_encoder: nn.Module) -> None:
    """A pass over other images in between changes nothing; no gradient flows through the statistics."""
    before = bits(batch_norm_encoder)
    adaptable = AdaptableEncoder(batch_norm_encoder, None, prior=0.8)
    by_hand = copy.deepcopy(batch_norm_encoder)
    values = pixels = images()
    with torch.no_grad():
        for layer in by_hand:  # type: ignore[attr-defined]
            if isinstance(layer, nn.BatchNorm2d):
                flat = values.transpose(0, 1).flatten(1)
                mean = 0.8 * layer.running_mean + 0.2 * flat.mean(1)
                variance = 0.8 * layer.running_var + 0.2 * flat.var(1, unbiased=True)
                normed = (values - mean[:, None, None]) / (variance[:, None, None] + layer.eps).sqrt()
                values = normed * layer.weight[:, None, None] + layer.bias[:, None, None]
            else:
                values = layer(values)
        torch.testing.assert_close(adaptable(pixels), values, rtol=0, atol=1e-6)
        adaptable(10 + 5 * pixels)
        torch.testing.assert_close(adaptable(pixels), values, rtol=0, atol=1e-6)
        assert (values - batch_norm_encoder(pixels)).abs().max() > 0.01
    assert same_bits(batch_norm_encoder, before)
    moving = pixels.clone().requires_grad_()
    adaptable(moving)[0].sum().backward()
    assert moving.grad is not None
    assert moving.grad[0].abs().max() > 0
    assert not moving.grad[1:].any(), "other images reach the gradient, through the statistics"


def test_a_prior_of_one_is_the_source_and_of_zero_the_batch(batch_norm_encoder: nn.Module) -> None:
    with torch.no_grad():
        source = AdaptableEncoder(batch_norm_encoder, None, prior=1.0)(images())
        torch.testing.assert_close(source, batch_norm_encoder(images()), rtol=0, atol=1e-6)
        batch = AdaptableEncoder(batch_norm_encoder, None, prior=0.0)(images(64))
        # Training mode divides by the biased variance, here of 64 * 49 and 64 * 25 values per channel.
        trained = AdaptableEncoder(batch_norm_encoder, None, statistics="batch")(images(64))
        torch.testing.assert_close(batch, trained, rtol=0, atol=2e-3)


def test_a_moved_parameter_is_used_under_autocast_too() -> None:
    """Autocast caches a rounded copy of a parameter while it is active; a step in between must not be lost."""
    encoder = nn.Linear(4, 4)
    adaptable = AdaptableEncoder(encoder, None)
    values = torch.ones(1, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = adaptable(values)
        assert before.dtype == torch.float32
        with torch.no_grad():
            adaptable.parameters[0].add_(1)
        torch.testing.assert_close(adaptable(values), before + 4, rtol=0, atol=0.1)


def test_an_encoder_with_nothing_to_adapt_is_refused(stub_teacher: Any, without_norm_encoder: nn.Module) -> None:
    with pytest.raises(UserError, match=r"method any adapts .* of teacher stub has none") as refused:
        require_normalisation("any", stub_teacher(without_norm_encoder))
    assert refused.value.exit_code == 2


def test_an_encoder_with_one_normalisation_layer_is_accepted(stub_teacher: Any) -> None:
    require_normalisation("any", stub_teacher(nn.Sequential(nn.Flatten(), nn.Linear(768, 24), nn.LayerNorm(24))))
