"""The Asynchronous Perception Machine (NeurIPS 2024), written to be read: this module is its definition."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu
from torch.nn.utils import skip_init

from apm_tta.apm.config import APMConfig
from apm_tta.apm.positions import axis_code, sine_cosine_code
from apm_tta.apm.reference import from_reference_names


@dataclass(frozen=True)
class APMOutput:
    """The output of one pass over all locations.

    Attributes:
        token: the global token t, ``(B, F)``.
        grid: the feature f(i, j) of every location, ``(B, g, g, F)``.
        rgb: the decoded colour of every location, ``(B, 3, g, g)``; its target is the P x P average-pooled image.
    """

    token: Tensor
    grid: Tensor
    rgb: Tensor


class GlobalToken(nn.Module):
    r"""A learned query that attends over all locations.

    With :math:`x_l = f_l + p_F(l)` and per head :math:`h` of width :math:`d = F / heads`

    .. math::
        s_{hl} = \frac{(W_q q + b_q)_h \cdot (W_k x_l + b_k)_h}{\sqrt d}, \quad
        t = W_o \,[\textstyle\sum_l \mathrm{softmax}_l(s_h) (W_v x_l + b_v)_h]_h + b_o
    """

    def __init__(self, feature_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.empty(feature_dim))
        self.project_query = skip_init(nn.Linear, feature_dim, feature_dim)
        self.project_key = skip_init(nn.Linear, feature_dim, feature_dim)
        self.project_value = skip_init(nn.Linear, feature_dim, feature_dim)
        self.project_output = skip_init(nn.Linear, feature_dim, feature_dim)

    def forward(self, located: Tensor) -> Tensor:
        """Compute tokens, ``(B, F)``, from ``located``, the features with their position code added, ``(B, L, F)``."""
        query = self.project_query(self.query).unflatten(-1, (self.heads, -1))  # (heads, d)
        key = self.project_key(located).unflatten(-1, (self.heads, -1))  # (B, L, heads, d)
        value = self.project_value(located).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("hd,blhd->bhl", query, key) / query.shape[-1] ** 0.5
        attended = torch.einsum("bhl,blhd->bhd", scores.softmax(-1), value)
        output: Tensor = self.project_output(attended.flatten(1))
        return output


class APM(nn.Module):
    """The field that answers a query at every location of an image.

    ``column`` encodes the whole image as one vector c; the query at a location is u = [c ; p(i, j)]; a shared MLP
    turns it into a feature f(i, j); a learned query pools all features into the global token t.
    Every parameter of a new APM is drawn from N(0, init_std squared) by ``generator``, in the order of
    ``parameters()``. What an image is fitted with starts from ``fresh_parameters``, which is as large and distributed
    alike, but drawn once.

    Example:
        >>> apm = APM(APMConfig(image_size=32, patch_size=4, hidden=(256, 128, 64), feature_dim=64))
        >>> apm(torch.zeros(2, 3, 32, 32)).grid.shape
        torch.Size([2, 8, 8, 64])
    """

    def __init__(self, config: APMConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        # skip_init: torch's own initialisation would read, and advance, the global generator.
        if config.column == "conv":
            self.convolution = skip_init(nn.Conv2d, 3, 1, config.patch_size, stride=config.patch_size)
        widths = (config.column_dim + config.position_dim, *config.hidden)
        self.mlp = nn.ModuleList(skip_init(nn.Linear, before, after) for before, after in itertools.pairwise(widths))
        self.feature_head = skip_init(nn.Linear, widths[-1], config.feature_dim)
        rgb_widths = (config.feature_dim + widths[0], config.rgb_hidden, config.rgb_hidden, 3)
        self.rgb_head = nn.ModuleList(
            skip_init(nn.Linear, before, after) for before, after in itertools.pairwise(rgb_widths)
        )
        self.global_token = GlobalToken(config.feature_dim, config.heads)
        self.refresh(generator)

    def refresh(self, generator: torch.Generator | None = None) -> None:
        """Draw every parameter anew from N(0, init_std squared); ``generator`` None means one of seed 0."""
        generator = generator or torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator).mul_(self.config.init_std))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every layer as torch does, for long trainings: uniform within one over the root of its number of inputs.

        The published code draws from N(0, 0.01 squared) for a fit to one image, and as torch does for many. The colours
        start at mid-grey: from below 0, their last ReLU would never move.
        """
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    bound = module.weight[0].numel() ** -0.5
                    for parameter in (module.weight, module.bias):
                        if parameter is not None:
                            drawn = torch.rand(parameter.shape, generator=generator)
                            parameter.copy_(drawn.mul_(2 * bound).sub_(bound))
            bias = _linear(self.rgb_head[-1])[1]
            bias.fill_(0.5)

    def column(self, images: Tensor, teacher_token: Tensor | None = None) -> Tensor:
        """Compute columns c, ``(B, D)``, of ImageNet-normalised images ``(B, 3, S, S)``.

        With ``column: vit`` the column is ``teacher_token`` itself.

        Raises:
            ValueError: when the images do not have the configured size, or a token is missing or surplus.
        """
        size = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(f"images have shape {tuple(images.shape)}; this APM takes (B, 3, {size}, {size})")
        if (teacher_token is not None) != (self.config.column == "vit"):
            raise ValueError(f"column is {self.config.column!r}: a teacher's token is needed exactly when it is 'vit'")
        if teacher_token is not None:
            return teacher_token
        column: Tensor = self.convolution(images)
        return column.flatten(1)

    def queries(self, column: Tensor) -> Tensor:
        """Return every location's query u = [c ; p(i, j)], row by row, ``(B, g * g, 2 D)``, from columns ``(B, D)``."""
        position = self._position(self.config.position_dim)
        everywhere = column[:, None, :].expand(-1, len(position), -1)
        return torch.cat([everywhere, position.expand(len(column), -1, -1)], dim=-1)

    def features(self, queries: Tensor) -> Tensor:
        """Compute features f, ``(B, L, F)``, of queries ``(B, L, 2 D)``."""
        hidden = queries
        for layer in self.mlp:
            hidden = relu(layer(hidden))
        features: Tensor = self.feature_head(hidden)
        return features

    def readout(self, features: Tensor, locations: Tensor | None = None) -> Tensor:
        """Pool features ``(B, L, F)`` to the token t, ``(B, F)``, by ``config.readout``.

        Args:
            features: of all locations, row by row, or of ``locations``.
            locations: where they are, as ``query`` takes it; None for everywhere.
        """
        if self.config.readout == "mean":
            return features.mean(1)
        width = self.config.feature_dim
        code = self._position(width) if locations is None else self._code_at(self._places(locations), width)
        token: Tensor = self.global_token(features + code)
        return token

    def token(self, images: Tensor, teacher_token: Tensor | None = None) -> Tensor:
        """Compute the token alone, as ``forward`` does: the RGB head, which its loss does not read, is not run."""
        return self.readout(self.features(self.queries(self.column(images, teacher_token))))

    def rgb(self, features: Tensor, queries: Tensor) -> Tensor:
        """Decode colours, ``(B, 3, g, g)``, from features ``(B, g * g, F)`` and queries ``(B, g * g, 2 D)``."""
        hidden = torch.cat([features, queries], dim=-1)
        for layer in self.rgb_head:
            hidden = relu(layer(hidden))
        colours: Tensor = hidden.transpose(1, 2).unflatten(2, (self.config.grid, self.config.grid))
        return colours

    def forward(self, images: Tensor, teacher_token: Tensor | None = None) -> APMOutput:
        """Compute token, grid and rgb of ImageNet-normalised images ``(B, 3, S, S)``; see ``APMOutput``.

        ``teacher_token``, ``(B, F)``, is the column where ``config.column`` is ``vit``.
        """
        queries = self.queries(self.column(images, teacher_token))
        features = self.features(queries)
        grid = features.unflatten(1, (self.config.grid, self.config.grid))
        return APMOutput(self.readout(features), grid, self.rgb(features, queries))

    def query(self, column: Tensor, locations: Tensor, chunk: int | None = None) -> Tensor:
        r"""Compute features at any locations in any order, ``(B, L, F)``, without computing the whole grid.

        With the first layer's weight :math:`[W_c \mid W_j \mid W_i]` and the halves of the position code, at a location

        .. math:: W u = (W_c c + b) + W_j p_j + W_i p_i

        so that the column is multiplied once per image, and every row and column of the queried locations once per
        chunk. Apart from the column, the answers and the weights, nothing in memory grows with the grid: what a chunk
        needs grows with the chunk alone.

        Args:
            column: ``(B, D)``.
            locations: ``(L,)``, counted row by row, ``i * g + j``; or ``(L, 2)``, row i and column j in fractions of
                the grid, half a cell beyond its border at most; or ``(B, L, 2)``, those of each image; may repeat.
            chunk: number of locations that are answered at once; None means all.

        Raises:
            ValueError: when a location is not on the grid, or ``chunk`` is less than 1.
        """
        weight, bias = _linear(self.mlp[0])
        image = linear(column, weight[:, : self.config.column_dim], bias)
        return self._in_chunks(self._places(locations), chunk, lambda part: self._features_at(image, part))

    def colours(self, column: Tensor, features: Tensor, locations: Tensor, chunk: int | None = None) -> Tensor:
        """Decode colours, ``(B, L, 3)``, at the locations for which ``query`` returned ``features``, ``(B, L, F)``.

        ``column``, ``locations`` and ``chunk`` are those of ``query``.
        """
        (weight, bias), width = _linear(self.rgb_head[0]), self.config.feature_dim
        image = linear(column, weight[:, width : width + self.config.column_dim], bias)
        places = self._places(locations)

        def decode(part: Tensor) -> Tensor:
            by_place = self._position_term(weight, places[..., part, :])
            hidden = relu(linear(features[:, part], weight[:, :width]) + image[:, None] + by_place)
            for further in self.rgb_head[1:]:
                hidden = relu(further(hidden))
            return hidden

        return self._in_chunks(torch.arange(places.shape[-2], device=places.device), chunk, decode, 0)

    def _features_at(self, image: Tensor, places: Tensor) -> Tensor:
        """Compute features, ``(B, L, F)``, from ``image``, the first layer's term of the column, ``(B, H)``."""
        hidden = relu(image[:, None] + self._position_term(_linear(self.mlp[0])[0], places))
        for layer in self.mlp[1:]:
            hidden = relu(layer(hidden))
        features: Tensor = self.feature_head(hidden)
        return features

    def _position_term(self, weight: Tensor, places: Tensor) -> Tensor:
        """Compute the position's term, ``(..., L, H)``, of a layer whose ``weight`` ends with the query u's columns.

        ``places`` are rows and columns, ``(..., L, 2)``.
        """
        half = self.config.position_dim // 2
        parts = []
        for axis, first in ((places[..., 1], -2 * half), (places[..., 0], -half)):
            indices, places = axis.unique(return_inverse=True)
            by_axis = weight[:, first : first + half or None]
            parts.append(linear(axis_code(indices, half).to(weight.dtype), by_axis)[places])
        return parts[0] + parts[1]

    def _code_at(self, places: Tensor, width: int) -> Tensor:
        """Return the position code ``(..., L, width)`` of rows and columns ``(..., L, 2)``."""
        by_axis = axis_code(places.flatten(), width // 2).unflatten(0, places.shape)  # (..., L, 2, width / 2)
        code: Tensor = by_axis.flip(-2).flatten(-2).to(self.feature_head.weight)
        return code

    def _in_chunks(
        self, locations: Tensor, chunk: int | None, compute: Callable[[Tensor], Tensor], axis: int = -2
    ) -> Tensor:
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk is {chunk}; it must be at least 1")
        if chunk is None or locations.shape[axis] <= chunk:
            return compute(locations)
        return torch.cat([compute(part) for part in locations.split(chunk, axis)], 1)

    def _places(self, locations: Tensor) -> Tensor:
        """Return rows and columns, ``(..., L, 2)``, of locations as ``query`` takes them, if they exist."""
        grid = self.config.grid
        if locations.ndim in (2, 3) and locations.shape[-1] == 2:
            if bool(((locations < -0.5) | (locations > grid - 0.5)).any()):
                raise ValueError(
                    f"rows and columns must be from -0.5 to {grid - 0.5}: {grid} rows of as many locations"
                )
            return locations
        if locations.ndim != 1 or bool(((locations < 0) | (locations >= grid**2)).any()):
            raise ValueError(f"locations must be (L,), each from 0 to {grid**2 - 1}: {grid} rows, row by row")
        return torch.stack([locations // grid, locations % grid], 1)

    def _position(self, width: int) -> Tensor:
        """Return the position code of every location, ``(g * g, width)``, in the parameters' type, on their device."""
        like = self.feature_head.weight
        return sine_cosine_code(self.config.grid, width).flatten(0, 1).to(like)

    def load_reference_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load weights named as in the published release; they may lack a global token where ``readout`` needs none.

        Raises:
            ValueError: naming the tensors that are missing, surplus or of another shape than this configuration's.
        """
        self.load_state_dict(from_reference_names(state, self.state_dict(), self.config.readout == "token"))


def _linear(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias, which the type of a list of modules does not promise."""
    assert isinstance(layer, nn.Linear)
    return layer.weight, layer.bias
