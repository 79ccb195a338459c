"""``run-bench video``: islands in a video in which nothing happens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from apm_tta.data.unlabelled import Unlabelled
from apm_tta.errors import UserError
from apm_tta.islands.fine import multiple_of, refuse_way
from apm_tta.islands.fine.bilinear import enlarge
from apm_tta.islands.gallery import DIGITS, Drawing, draw, legend
from apm_tta.islands.number_tables import as_table
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.teachers.square import Square
from apm_tta.teachers.video import PREPROCESSING, VideoTeacher


def show_video(
    folder: PictureFolder,
    image: Unlabelled,
    teacher: VideoTeacher,
    frames: int,
    blocks: Sequence[int],
    frame: int,
    drawing: Drawing,
) -> str:
    """Draw the islands in a still image that is repeated along time; return the text.

    Args:
        folder: where the files are written.
        image: the image of every frame.
        teacher: the video transformer.
        frames: number of frames, T.
        blocks: blocks whose tokens are drawn.
        frame: frame of the tokens, which have half as many frames; counted from 0, or from the end.
        drawing: how islands are drawn.

    Raises:
        UserError: when the image cannot be read, or the block or frame does not exist. Exit code 2 for the latter.
    """
    pixels = image.read()
    still = Square(PREPROCESSING)(pixels)[None, :, None].expand(-1, -1, frames, -1, -1).to(teacher.device)
    tokens = teacher.tokens(still, blocks)
    grids = {f"block {block}": _select_frame(own[0], frame) for block, own in zip(blocks, tokens, strict=True)}
    title = (
        f"{frames} frames of one image through mvit_v2_s (weights {teacher.weights_sha256[:DIGITS]}), "
        f"frame {frame} of the tokens{drawing.resolution_note}"
    )
    refuse_way(drawing.fine, ["bilinear"], "the tokens of a video")
    factors = [multiple_of(len(grid), drawing.resolution or len(grid)) for grid in grids.values()]
    grids = {name: enlarge(grid, factor) for (name, grid), factor in zip(grids.items(), factors, strict=True)}
    rows = draw(folder, "video", f"{image.id}: {title}", pixels, grids, drawing, factors=factors)
    return f"{image.id}: {title}\n\n{as_table(rows)}\n\n{legend(drawing)}"


def _select_frame(tokens: Tensor, frame: int) -> Tensor:
    """Return one frame, ``(h, w, C)``, of tokens ``(T', h, w, C)``."""
    if not -len(tokens) <= frame < len(tokens):
        raise UserError(f"the tokens have frames 0 to {len(tokens) - 1}; there is no frame {frame}", exit_code=2)
    return tokens[frame]
