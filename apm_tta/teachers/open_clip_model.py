"""An open_clip model from its configuration and weights file, without the silent changes of open_clip's factory."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from open_clip import CLIP, CoCa, CustomTextCLIP
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.teachers.checkpoints import WeightsFile, load_strictly, read_state_dict, refuse_changed
from apm_tta.teachers.undrawn import Undrawn
from apm_tta.teachers.weight_names import without_prefix

# What OpenAI's archives contain besides the weights; the model's configuration states the same.
OPENAI_SIZES = ("input_resolution", "context_length", "vocab_size")
_POSITIONS = "text.transformer.embeddings.position_ids"
_SCALARS = ("logit_scale", "logit_bias")


def build_model(configuration: Mapping[str, Any], weights: WeightsFile, quick_gelu: bool) -> nn.Module:
    """Build the model and load its weights strictly.

    open_clip's factory would resize positional embeddings to another input size, read archives that contain code, and
    download the weights of towers; none of this happens here.

    Args:
        configuration: open_clip's ``model_cfg``.
        weights: the weights file.
        quick_gelu: whether the activation is QuickGELU.

    Raises:
        UserError: when the file contains more than weights, or belongs to another architecture or activation.
    """
    found = read_state_dict(weights)  # before the model is made, which takes longer than to refuse a wrong file
    model = _make(configuration, quick_gelu)
    state = without_prefix(found, model.state_dict(), weights.path)
    if any(name in state for name in OPENAI_SIZES):
        if not quick_gelu:
            raise UserError(
                f"{weights.path} is OpenAI's, whose models have QuickGELU, but GELU was requested: accuracy would be "
                "silently lower; add -quickgelu to the architecture's name",
                exit_code=2,
            )
        state = {name: value for name, value in state.items() if name not in OPENAI_SIZES}
    load_strictly(model, _translate_names(model, state), weights.path)
    refuse_changed(weights)
    return model


def _make(configuration: Mapping[str, Any], quick_gelu: bool) -> nn.Module:
    """Make the model, using the class that ``open_clip.create_model`` would choose."""
    settings = deepcopy(dict(configuration))
    uses_transformers = "hf_model_name" in settings["text_cfg"]
    custom_text = settings.pop("custom_text", False) or uses_transformers
    if quick_gelu:
        settings["quick_gelu"] = True
    if "timm_model_name" in settings["vision_cfg"]:
        settings["vision_cfg"]["timm_model_pretrained"] = False
    if uses_transformers:
        settings["text_cfg"]["hf_model_pretrained"] = False
    kind: Any = CLIP if not custom_text else CoCa if "multimodal_cfg" in settings else CustomTextCLIP
    with Undrawn():  # every weight is loaded afterwards
        model: nn.Module = kind(**settings)
    return model


def _translate_names(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate older and foreign names as ``open_clip.load_checkpoint`` does."""
    state = dict(convert_state_dict(model, state))
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = dict(convert_to_custom_text_state_dict(state))
    own = model.state_dict()
    for name in _SCALARS:
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    if _POSITIONS not in own:
        state.pop(_POSITIONS, None)
    return state
