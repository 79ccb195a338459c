"""``run-bench video``: islands in a video in which nothing happens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from apm_tta.data.unlabelled import Unlabelled
from apm_tta.errors import UserError
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
    at: int,
    drawing: Drawing,
) -> str:
    """Islands in a still image that is repeated along time; -> the text.

    Args:
        folder: takes the files.
        image: of every frame.
        teacher: the video transformer.
        frames: T.
        blocks: whose tokens are drawn.
        at: which frame of the tokens, of which there are half as many; counted from 0, or from the end.
        drawing: how.

    Raises:
        UserError: when the image cannot be read, or there is no such block or frame. Exit code 2 for the latter.
    """
    pixels = image.read()
    still = Square(PREPROCESSING)(pixels)[None, :, None].expand(-1, -1, frames, -1, -1).to(teacher.device)
    tokens = teacher.tokens(still, blocks)
    grids = {f"block {block}": _of_frame(found[0], at) for block, found in zip(blocks, tokens, strict=True)}
    title = (
        f"{frames} frames of one image through mvit_v2_s (weights {teacher.weights_sha256[:DIGITS]}), "
        f"frame {at} of the tokens"
    )
    rows = draw(folder, "video", f"{image.id}: {title}", pixels, grids, drawing)
    return f"{image.id}: {title}\n\n{as_table(rows)}\n\n{legend(drawing.threshold)}"


def _of_frame(tokens: Tensor, at: int) -> Tensor:
    """``(T', h, w, C)`` -> ``(h, w, C)``."""
    if not -len(tokens) <= at < len(tokens):
        raise UserError(f"the tokens have frames 0 to {len(tokens) - 1}; there is no frame {at}", exit_code=2)
    return tokens[at]
