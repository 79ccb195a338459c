"""CLIP through open_clip: the embedded model, released weights and local checkpoints by the same code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.errors import UnknownName, UserError
from apm_tta.teachers.base import FAMILIES, weights_sha256
from apm_tta.teachers.embedded import FOLDER as EMBEDDED_FOLDER

_PROMPTS_AT_ONCE = 256


class OpenClipTeacher:
    """A frozen open_clip model; see ``Teacher`` for what its members mean."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        transform: Callable[[Image.Image], Tensor],
        tokenizer: Callable[[Sequence[str]], Tensor],
        device: torch.device,
    ) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.device = device
        self.weights_sha256 = weights_sha256(model)
        self.logit_scale = float(model.logit_scale.exp())  # type: ignore[operator]
        self.image_size = _side(model.visual.image_size)  # type: ignore[union-attr,arg-type]
        patch_size = getattr(model.visual, "patch_size", None)
        self.patch_size = None if patch_size is None else _side(patch_size)
        self._transform = transform
        self._tokenizer = tokenizer
        self._class_weights: dict[tuple[tuple[str, ...], tuple[str, ...]], Tensor] = {}
        with torch.no_grad():
            blank = torch.zeros(1, 3, self.image_size, self.image_size, device=device)
            self.feature_dim = int(self.encode_image(blank).shape[1])

    def preprocess(self, image: Image.Image) -> Tensor:
        """See ``Teacher.preprocess``; the transform is the checkpoint's own."""
        return self._transform(image)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """See ``Teacher.encode_image``."""
        embeddings: Tensor = self.model.encode_image(pixels)  # type: ignore[operator]
        return embeddings.float()

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """See ``Teacher.encode_grid``."""
        blocks = getattr(getattr(self.model.visual, "transformer", None), "resblocks", None)
        if blocks is None:
            raise UserError(f"teacher {self.name} has no patch tokens; choose one with a ViT image tower")
        if not -len(blocks) <= layer < len(blocks):
            raise UserError(f"teacher {self.name} has layers 0 to {len(blocks) - 1}; there is no layer {layer}")
        output = self.model.visual.forward_intermediates(  # type: ignore[operator,union-attr]
            pixels, indices=[layer % len(blocks)], intermediates_only=True, output_fmt="NCHW"
        )
        grid: Tensor = output["image_intermediates"][0]
        return grid.permute(0, 2, 3, 1).float()

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """See ``Teacher.class_weights``; remembered, since methods of a run ask for the same."""
        key = (tuple(classes), tuple(templates))
        if key not in self._class_weights:
            self._class_weights[key] = self._encode_classes(classes, templates)
        return self._class_weights[key]

    def _encode_classes(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        prompts = [template.format(name) for name in classes for template in templates]
        embeddings = []
        with torch.no_grad():
            for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
                tokens = self._tokenizer(prompts[start : start + _PROMPTS_AT_ONCE]).to(self.device)
                embeddings.append(normalize(self.model.encode_text(tokens).float(), dim=-1))  # type: ignore[operator]
        per_class = torch.cat(embeddings).unflatten(0, (len(classes), len(templates)))
        return normalize(per_class.mean(1), dim=-1)


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]


def _load(name: str, model_name: str, pretrained: str | None, device: torch.device) -> OpenClipTeacher:
    """``model_name`` and ``pretrained`` are open_clip's."""
    try:
        model, transform = open_clip.create_model_from_pretrained(
            model_name,
            pretrained=pretrained,
            device=device,
            force_quick_gelu=_needs_quick_gelu(model_name, pretrained),
        )
        tokenizer = open_clip.get_tokenizer(model_name)
    except Exception as error:  # open_clip, its hub client and torch raise many kinds; the reader needs one line
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"teacher {name!r} cannot be loaded: {type(error).__name__}: {reason}") from error
    return OpenClipTeacher(name, model, transform, tokenizer, device)


def _needs_quick_gelu(model_name: str, pretrained: str | None) -> bool:
    """Whether the released weights were trained with QuickGELU: a mismatch costs accuracy and is only warned about."""
    if not pretrained or pretrained not in open_clip.list_pretrained_tags_by_model(model_name):
        return False
    return bool(open_clip.get_pretrained_cfg(model_name, pretrained).get("quick_gelu", False))


@FAMILIES.register("embedded")
def load_embedded(name: str, device: torch.device) -> OpenClipTeacher:
    """``embedded``: the model that the package carries."""
    return _load(name, f"local-dir:{EMBEDDED_FOLDER}", None, device)


@FAMILIES.register("hf-hub")
def load_from_hub(name: str, device: torch.device) -> OpenClipTeacher:
    """``hf-hub:organisation/repository``."""
    return _load(name, name, None, device)


@FAMILIES.register("open_clip")
def load_architecture(name: str, device: torch.device) -> OpenClipTeacher:
    """``ARCHITECTURE:TAG`` or ``ARCHITECTURE:/path/to/checkpoint``, such as ``ViT-B-16:openai``.

    Raises:
        UnknownName: for an architecture or a tag that open_clip does not know.
    """
    architecture, _, pretrained = name.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not pretrained:
        raise UserError(f"teacher {name!r} names no weights; write {architecture}:TAG or {architecture}:/path", 2)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise UnknownName(f"weights of {architecture} (no such tag, no such file)", pretrained, tags)
    return _load(name, architecture, pretrained, device)
