from __future__ import annotations

import copy
from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.errors import UserError
from apm_tta.teachers import LazyTeacher, load_teacher
from apm_tta.teachers.text_tower import TextTower

PROMPTS = ("a cat", "a photo of a large dog, a type of pet.", "", "one two three four five six seven eight nine")
VISION = {"image_size": 16, "patch_size": 8, "layers": 1, "width": 16, "head_width": 8}
TEXT = {"context_length": 24, "width": 32, "heads": 4, "layers": 2}
EOT = 49407

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "built into CLIP": (CLIP, {}),
    "CLIP without a mask": (CLIP, {"no_causal_mask": True}),
    "CLIP, last position": (CLIP, {"pool_type": "last"}),
    "CLIP, linear projection": (CLIP, {"proj_bias": True}),
    "CLIP without a projection": (CLIP, {"proj_type": "none", "width": 40}),
    "of its own": (CustomTextCLIP, {}),
    "end by its number": (CustomTextCLIP, {"pool_type": "eos", "eos_id": EOT}),
    "first position": (CustomTextCLIP, {"pool_type": "first", "no_causal_mask": True}),
    "as SigLIP": (CustomTextCLIP, {"pool_type": "last", "no_causal_mask": True, "proj_bias": True}),
    "appended class token": (CustomTextCLIP, {"embed_cls": True, "context_length": 23}),
    "blocks of another kind": (CustomTextCLIP, {"qk_norm": True, "scale_heads": True, "scale_fc": True}),
}


def seeded(build: Any) -> Any:
    """Build a model with random biases and scales too: at zero and one a mistake would not show."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = build().eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif parameter.ndim == 2 and parameter.shape[0] < 100:
                parameter.mul_(3)  # positions and the projection
    return model


def small(kind: str) -> Any:
    model, text = KINDS[kind]
    return seeded(lambda: model(40, CLIPVisionCfg(**VISION), CLIPTextCfg(**{**TEXT, **text})))


def tower_of(model: nn.Module, context_length: int = 24) -> TextTower:
    return TextTower("small", model, SimpleTokenizer(context_length=context_length), torch.device("cpu"))


def model_and_tower(kind: str) -> tuple[Any, TextTower]:
    model = small(kind)
    return model, tower_of(model, KINDS[kind][1].get("context_length", 24))


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_embeddings_equals_encoding_text(kind: str) -> None:
    model, tower = model_and_tower(kind)
    tokens = tower.tokens(PROMPTS)
    with torch.no_grad():
        expected = model.encode_text(tokens)
        ours = tower.encode(tower.embed(tokens), tokens)
        truncated = tower.truncate(tokens)
        torch.testing.assert_close(tower.encode(tower.embed(truncated), truncated), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    unit = normalize(expected, dim=-1)
    assert (unit[0] - unit[1]).abs().max() > 0.01, "every prompt has the same embedding"


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_its_encoder_has_parameters_of_its_own_and_no_image_tower(kind: str) -> None:
    model, tower = model_and_tower(kind)
    tokens = tower.truncate(tower.tokens(PROMPTS))
    encoder = tower.encoder()
    copied = copy.deepcopy(encoder)
    shared = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in encoder.parameters()} <= shared
    assert not {id(parameter) for parameter in copied.parameters()} & shared
    assert not any("visual" in name for name, _ in copied.named_parameters())
    assert hasattr(model, "visual"), "the model itself keeps it"
    with torch.no_grad():
        expected = tower.encode(tower.embed(tokens), tokens)
        assert torch.equal(encoder(tokens), expected)
        assert torch.equal(copied(tokens), expected)
        for layer in copied.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.weight.mul_(torch.linspace(0.5, 2, len(layer.weight)))
        assert not torch.allclose(copied(tokens), expected, rtol=0, atol=1e-3)
        assert torch.equal(tower.encode(tower.embed(tokens), tokens), expected)


def test_cocas_tower_equals_its_encoding() -> None:
    def build() -> Any:
        vision = {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
        multimodal = {"context_length": 24, "width": 32, "heads": 4, "layers": 1}
        text = {**TEXT, "context_length": 23, "embed_cls": True, "output_tokens": True}
        return open_clip.CoCa(40, multimodal_cfg=multimodal, text_cfg=text, vision_cfg=vision)

    model = seeded(build)
    tower = tower_of(model, 23)
    tokens = tower.tokens(PROMPTS)
    with torch.no_grad():
        ours = tower.encode(tower.embed(tokens), tokens)
        expected = model.encode_text(tokens, normalize=False)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_the_embedded_teachers_tower(embedded_teacher: LazyTeacher) -> None:
    tower = embedded_teacher.text_tower
    assert tower is not None
    tokens = tower.tokens(PROMPTS)
    built: Any = embedded_teacher.built
    model = built.model
    with torch.no_grad():
        ours = tower.encode(tower.embed(tokens), tokens)
        torch.testing.assert_close(ours, model.encode_text(tokens), rtol=0, atol=1e-5)
    assert (tower.width, tower.layers, tower.heads) == (64, 2, 4)
    assert tokens.shape == (4, 32)
    assert tower.embed(tokens).shape == (4, 32, 64)


def test_columns_are_removed_only_if_they_have_no_influence() -> None:
    """Under a causal mask these follow the longest prompt; there are none without a mask, or if the last is read."""
    expected = {
        "built into CLIP": 14,
        "CLIP, linear projection": 14,
        "of its own": 14,
        "end by its number": 14,
        "CLIP without a mask": 24,
        "CLIP, last position": 24,
        "first position": 24,
        "as SigLIP": 24,
        "appended class token": 23,
    }
    for kind, length in expected.items():
        _, tower = model_and_tower(kind)
        tokens = tower.tokens(PROMPTS)
        assert (tokens == EOT).nonzero()[:, 1].max() == 13
        assert tower.truncate(tokens).shape == (4, length), kind


def autograd_through_encode_text(model: Any, tokens: Tensor, direction: Tensor) -> Tensor:
    """Compute the gradient in the token embeddings by open_clip's own forward pass, hooked at its embedding layer."""
    layer = getattr(model, "text", model).token_embedding
    leaf = layer(tokens).detach().requires_grad_()
    hook = layer.register_forward_hook(lambda *_: leaf)
    try:
        (model.encode_text(tokens) * direction).sum().backward()
    finally:
        hook.remove()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_equals_that_of_encode_text(kind: str) -> None:
    model, tower = model_and_tower(kind)
    tokens = tower.tokens(PROMPTS)
    direction = torch.randn(4, 40, generator=torch.Generator().manual_seed(2))
    embedded = tower.embed(tokens).requires_grad_()
    (tower.encode(embedded, tokens) * direction).sum().backward()
    expected = autograd_through_encode_text(model, tokens, direction)
    assert embedded.grad is not None
    size = expected.abs().max()
    assert size > 0
    torch.testing.assert_close(embedded.grad, expected, rtol=0, atol=float(1e-4 * size))


def test_the_gradient_agrees_with_finite_differences(embedded_teacher: LazyTeacher) -> None:
    tower = embedded_teacher.text_tower
    assert tower is not None
    tokens = tower.tokens(PROMPTS[:2])
    generator = torch.Generator().manual_seed(3)
    direction, change = torch.randn(2, 64, generator=generator), torch.randn(2, 32, 64, generator=generator)
    embedded = tower.embed(tokens).requires_grad_()
    (tower.encode(embedded, tokens) * direction).sum().backward()
    assert embedded.grad is not None
    with torch.no_grad():
        step = 1e-3
        up, down = (tower.encode(embedded + sign * step * change, tokens) for sign in (1, -1))
        difference = float(((up - down).double() * direction).sum() / (2 * step))
    assert difference == pytest.approx(float((embedded.grad * change).sum()), rel=0.01)


def test_a_tower_that_is_not_open_clips_own_is_refused() -> None:
    """``HFTextEncoder``, for example, has a transformer and nothing else of what is needed."""
    model = small("of its own")
    model.text = nn.Sequential()
    with pytest.raises(UserError, match="is a Sequential; prompts are tuned through open_clip's own") as refused:
        tower_of(model)
    assert refused.value.exit_code == 2


def test_a_tower_that_does_something_unknown_is_refused() -> None:
    """A later open_clip's tower may compute something new, which must not be ignored silently."""
    model = small("of its own")
    with torch.no_grad():
        offset = model.text.positional_embedding.abs().max()
    encode = model.encode_text
    model.encode_text = lambda tokens: encode(tokens) + offset
    with pytest.raises(UserError, match="does something that prompt tuning does not support") as refused:
        tower_of(model)
    assert refused.value.exit_code == 2


def test_a_teacher_refuses_such_a_tower_at_every_access() -> None:
    """It can still encode images; the refusal is not cached."""
    teacher = load_teacher("embedded", cache=None)
    built: Any = teacher.built
    encode = built.model.encode_text
    built.model.encode_text = lambda tokens: encode(tokens) + encode(tokens).flip(1)
    for _ in range(2):
        with pytest.raises(UserError, match="does something that prompt tuning does not support") as refused:
            _ = teacher.text_tower
        assert refused.value.exit_code == 2
    assert teacher.encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, 64)
