"""Floating-point operations of one iteration, by formula; ``torch.utils.flop_counter`` counts the same products."""

from __future__ import annotations

from apm_tta.apm.config import APMConfig


def flops_per_iteration(config: APMConfig) -> int:
    """Count the operations of one image's forward and backward pass with the token loss alone.

    One multiplication with its addition counts as two operations.

    With L = g squared locations, widths H_0 .. H_n of the MLP, D of the position code, F of the features. Only
    products are counted, as is usual; what is linear in L or in the parameters (ReLU, Adam) is bound by memory instead.
    """
    locations, width = config.grid**2, config.feature_dim
    position, column, first, last = config.position_dim, config.column_dim, config.hidden[0], config.hidden[-1]
    # Between hidden layers: one product forward and two backward, at every location.
    pairs = zip(config.hidden, config.hidden[1:], strict=False)
    hidden = 3 * 2 * locations * sum(before * after for before, after in pairs)
    # The first layer: the column once (its weight's gradient is an outer product), g rows and g columns.
    queries = 2 * 2 * column * first + 2 * 2 * (2 * config.grid) * (position // 2) * first
    patches = 2 * 2 * locations * 3 * config.patch_size**2 if config.column == "conv" else 0
    if config.readout == "mean":
        return hidden + queries + patches + 2 * 2 * width * last
    heads = config.heads
    # Scores, their two weighted sums, and the backward pass of each; position codes with them.
    attention = 2 * heads * locations * (2 + 4) * last + 2 * heads * locations * (2 + 2) * width
    # u and the attended feature forward; their inputs' gradients; the feature head's gradient over 2 heads terms.
    folding = 2 * heads * width * last * (2 + 2 + 2)
    # Query, key, value and output projections: a matrix times a vector, forward and for the input's gradient.
    projections = 4 * 2 * 2 * width * width
    return hidden + queries + patches + attention + folding + projections
