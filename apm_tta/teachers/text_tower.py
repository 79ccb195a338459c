"""A text tower that starts from token embeddings, which prompt tuning differentiates and ``encode_text`` hides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.device_copies import device_copy
from apm_tta.errors import UserError

Tokenizer = Callable[[Sequence[str]], Tensor]
"""Take N prompts; return their tokens ``(N, L)``."""

# Pooling that reads one position, so that under a causal mask later positions have no influence.
_POOLED_BY_POSITION = ("argmax", "eos", "first")
_NEEDED = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
_PROBE = ("a photo of a", "a photo of a large dog, a type of pet.")


class TextTower:
    """An open_clip text tower: that of ``CLIP``, or the ``TextTransformer`` of ``CustomTextCLIP`` and ``CoCa``.

    Args:
        name: the teacher's.
        model: open_clip's, with both towers.
        tokenizer: the model's.
        device: the model's.

    Raises:
        UserError: when the tower is not open_clip's own, or computes something that this class does not. Exit code 2.

    Attributes:
        width: W, of a token embedding.
        layers: number of layers of the transformer.
        heads: number of heads of each layer's attention.
    """

    def __init__(self, name: str, model: Any, tokenizer: Tokenizer, device: torch.device) -> None:
        tower: Any = getattr(model, "text", model)
        if any(not hasattr(tower, part) for part in _NEEDED):
            raise UserError(
                f"the text tower of teacher {name} is a {type(tower).__name__}; prompts are tuned through "
                "open_clip's own text transformers only, such as that of ViT-B-16:openai",
                2,
            )
        self.width = int(tower.transformer.width)
        self.layers = len(tower.transformer.resblocks)
        self.heads = int(getattr(tower.transformer.resblocks[0].attn, "num_heads", 1))
        self._tower = tower
        self._tokenizer = tokenizer
        self._device = device
        self._pool = getattr(tower, "text_pool_type", None) or tower.pool_type
        self._eos = getattr(tower, "text_eos_id", None) or getattr(tower, "eos_id", None)
        self._class_embedding = getattr(tower, "cls_emb", None)
        self._masks_padding = bool(getattr(tower, "use_pad_mask", False)) or self._class_embedding is not None
        self._check_against_encode_text(name, model)

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Return the tokens of C prompts, ``(C, L)``, padded to the context length."""
        tokens: Tensor = self._tokenizer(list(prompts))
        return device_copy(tokens, self._device)

    def truncate(self, tokens: Tensor) -> Tensor:
        """Return tokens ``(C, L)`` without the trailing columns that have no influence on any embedding."""
        if self._tower.attn_mask is None or self._masks_padding or self._pool not in _POOLED_BY_POSITION:
            return tokens
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)[..., None]
        read = text_global_pool(positions, tokens, self._pool, eos_token_id=self._eos)
        return tokens[:, : int(read.max()) + 1]

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embeddings of tokens ``(C, L)``, without positions, ``(C, L, W)``."""
        embedded: Tensor = self._tower.token_embedding(tokens)
        return embedded

    def encode(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """Compute what ``encode_text`` would compute from ``tokens`` with these embeddings.

        Args:
            embedded: ``(C, L, W)``; the result is differentiable in it.
            tokens: ``(C, L)``, truncated where that is to save time; they determine where a prompt ends, and which
                positions are padding.

        Returns:
            Text embeddings ``(C, F)``, not normalised.
        """
        tower = self._tower
        cast = tower.transformer.get_cast_dtype()
        values = embedded[:, : tokens.shape[1]].to(cast)
        if self._class_embedding is not None:
            values = torch.cat([values, self._class_embedding.to(cast).expand(len(values), 1, -1)], dim=1)
        length = values.shape[1]
        values = tower.transformer(
            values + tower.positional_embedding[:length].to(cast), attn_mask=self._mask(tokens, length, cast)
        )
        pool = self._pool if self._class_embedding is None else "last"
        # Layer normalisation treats each position separately: after pooling it is needed for one position only.
        pooled = tower.ln_final(text_global_pool(values, tokens, pool, eos_token_id=self._eos))
        if isinstance(tower.text_projection, torch.nn.Linear):
            pooled = tower.text_projection(pooled)
        elif tower.text_projection is not None:
            pooled = pooled @ tower.text_projection
        result: Tensor = pooled.float()
        return result

    def encoder(self) -> nn.Module:
        """Return a module from tokens ``(C, L)`` to their embeddings ``(C, F)``, not normalised.

        It shares the tower's parameters; a deep copy has its own, without those of the image tower.
        """
        alone = copy.copy(self._tower)
        alone._modules = {name: module for name, module in self._tower._modules.items() if name != "visual"}

        def encode(module: nn.Module, tokens: Tensor) -> Tensor:
            own = copy.copy(self)
            own._tower = module
            return own.encode(own.embed(tokens), tokens)

        return _TextEncoder(alone, encode)

    def _mask(self, tokens: Tensor, length: int, dtype: torch.dtype) -> Tensor | None:
        causal: Tensor | None = self._tower.attn_mask
        if causal is not None:
            causal = causal[:length, :length]
        if not self._masks_padding:
            return causal
        padding: Tensor = self._tower._build_additive_mask(tokens, length, dtype)
        return padding if causal is None else causal + padding

    def _check_against_encode_text(self, name: str, model: Any) -> None:
        """Refuse a tower that this class computes differently, such as a later open_clip's: no result may use it."""
        tokens = self.tokens(_PROBE)
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            expected = normalize(model.encode_text(tokens).float(), dim=-1)
            ours = normalize(self.encode(self.embed(tokens), tokens), dim=-1)
        if not torch.allclose(ours, expected, rtol=0, atol=1e-3):
            raise UserError(f"the text tower of teacher {name} does something that prompt tuning does not support", 2)


class _TextEncoder(nn.Module):
    """The modules of a text tower, and what computes with them."""

    def __init__(self, tower: nn.Module, encode: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.tower = tower
        self._encode = encode

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens ``(C, L)`` as ``(C, F)``."""
        return self._encode(self.tower, tokens)
