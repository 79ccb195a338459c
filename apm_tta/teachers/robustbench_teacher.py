"""RobustBench's CIFAR networks for corruptions, from the checkpoints that its package downloads."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from torchvision import transforms

from apm_tta.data.cards import load_card
from apm_tta.errors import UnknownName, UserError
from apm_tta.system.files import is_file
from apm_tta.teachers.base import FAMILIES, Source
from apm_tta.teachers.checkpoints import WeightsFile, load_strictly, read_state_dict, refuse_changed, weights_file
from apm_tta.teachers.classifier_teacher import Classified, classifier_source
from apm_tta.teachers.head_labels import HeadLabels
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.robustbench.zoo import CARD_DECKS, ZOO, Entry
from apm_tta.teachers.undrawn import Undrawn
from apm_tta.teachers.weight_names import without_prefix

_PREFIX = "robustbench:"
_DEFAULT_DATA = "cifar10"
# The networks normalise their input themselves, where they do.
_PREPROCESSING = Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")
# As RobustBench's: to the last bit what its loader makes of an image of that size.
_TRANSFORM = transforms.Compose(
    [
        transforms.Resize(_PREPROCESSING.size),
        transforms.CenterCrop(_PREPROCESSING.size),
        transforms.ToTensor(),
        transforms.Normalize(_PREPROCESSING.mean, _PREPROCESSING.std),
    ]
)
_NORMALISATION = ("mu", "sigma")


@FAMILIES.register("robustbench")
def robustbench_source(name: str, classifier: str) -> Source:
    """Find ``robustbench:[DATA/]NAME[:/path]``, such as ``robustbench:Standard`` or ``robustbench:cifar100/...``.

    Without a path, the file is where RobustBench downloads it to, below the current folder.

    Raises:
        UnknownName: for a data set or an entry that is not among those of ``ZOO``.
        UserError: when its file is not there.
    """
    kind, _, path = name.removeprefix(_PREFIX).partition(":")
    data, _, entry = kind.rpartition("/")
    data = data or _DEFAULT_DATA
    if data not in ZOO:
        raise UnknownName("data set of RobustBench's networks", data, list(ZOO))
    if entry in CARD_DECKS:
        raise UserError(f"teacher {name} averages probabilities of six networks, so that it has no logits", 2)
    if entry not in ZOO[data]:
        raise UnknownName(f"network of RobustBench for {data} and corruptions", entry, list(ZOO[data]))
    place = Path(path or f"models/{data}/corruptions/{entry}.pt")
    if not is_file(place):
        raise UserError(
            f"teacher {name}: there is no file {place}, where RobustBench downloads it to "
            f'(robustbench.utils.load_model("{entry}", dataset="{data}", threat_model="corruptions")); '
            f"or write {_PREFIX}{kind}:/path",
            exit_code=2,
        )
    weights, found = weights_file(place), ZOO[data][entry]
    names = load_card(data).class_list.names
    labels = HeadLabels.of(len(names), names, None)
    identity = {"weights_sha256": weights.sha256, "architecture": f"RobustBench {data} {entry}"}

    def build() -> nn.Module:
        return _build(found, weights)

    return classifier_source(name, classifier, Classified(identity, labels, _PREPROCESSING, _TRANSFORM, build))


def _build(entry: Entry, weights: WeightsFile) -> nn.Module:
    found = read_state_dict(weights, entry.member)  # before the network is made, which takes longer
    with Undrawn():
        network = entry.make()
    state = without_prefix(found, network.state_dict(), weights.path)
    state = {key: value for key, value in state.items() if not key.endswith(entry.left_out or ("\0",))}
    load_strictly(network, state, weights.path, () if entry.states_normalisation else _NORMALISATION)
    refuse_changed(weights)
    return network
