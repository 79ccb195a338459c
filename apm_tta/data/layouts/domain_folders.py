"""A tree ``domain/class folder/image``, as DomainBed has its sets, and as DomainNet and ImageNet-D are released."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from pydantic import Field

from apm_tta.configuration import Configuration
from apm_tta.data.files import link_problems, list_folder
from apm_tta.data.layouts.base import LAYOUTS, Layout, Survey
from apm_tta.data.layouts.class_folders import folder_problems, list_tree, walk_classes
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.wording import first_few


def domain_folders(place: Path, domains: Iterable[str]) -> dict[str, Path]:
    """Return the folders of the domains that exist, by domain, in the order of ``domains``.

    A domain is named like its folder, in lower case and with ``_`` for what is neither letter nor digit.

    Raises:
        UserError: when two folders have one domain's name.
    """
    found: dict[str, Path] = {}
    for folder in list_folder(place)[0]:
        name = "".join(letter if letter.isalnum() else "_" for letter in folder.lower())
        if name in found and name in domains:
            both = f"{found[name].name} and {folder}"
            raise UserError(f"{place} has two folders for the domain {name}, {both}; move one away")
        found[name] = place / folder
    return {name: found[name] for name in domains if name in found}


class DomainFoldersOptions(Configuration):
    """How the folders of a domain belong to the classes.

    Attributes:
        others: whether there may be folders besides those of the domains and classes, which are not used.
        gaps: whether a domain may lack a class.
        merged: folders whose images are of the class of another folder, by name.
    """

    others: bool = False
    gaps: bool = False
    merged: dict[str, str] = Field(default_factory=dict)


@LAYOUTS.register("domain-folders")
class DomainFoldersLayout(Layout[DomainFoldersOptions]):
    """A tree with a folder for each of the card's domains, all of which have the same class folders."""

    Options = DomainFoldersOptions
    stores_corruptions = True

    def fits(self, folder: Path) -> bool:
        known = set(self._label_of)
        return any(known & set(list_tree(path)[0]) for path in self._domain_folders(folder).values())

    def matches(self, folder: Path) -> bool:
        """Return whether the domains are the card's, and the classes of the first one too."""
        folders = self._domain_folders(folder)
        if not folders or not (folders.keys() == self.card.domains.keys() or self.options.others):
            return False
        found, expected = set(list_tree(next(iter(folders.values())))[0]), set(self._label_of)
        return bool(found) and (self.options.others or found <= expected) and (self.options.gaps or found >= expected)

    def walk(self, condition: Condition) -> Survey:
        domain = self._domain_folders(self.place).get(condition.corruption)
        if domain is None:
            missing = f"{self.place} lacks the domain {condition.corruption}"
            return Survey(problems=[f"{missing}; expected tree: {self.card.tree}"])
        names, files, bad_links = list_tree(domain)
        labels, present = self._label_of, {*names} - {*bad_links}
        surplus = [] if self.options.others else [name for name in names if name not in labels]
        missing_allowed = self.options.gaps and bool(present & set(labels))
        classes = [name for name in labels if name in present]
        wanted = classes if missing_allowed else list(labels)
        found = walk_classes(self.place, [(domain / name, labels[name]) for name in classes])
        found.entries.sort(key=lambda entry: entry.label)  # stable: merged folders stand behind the one they belong to
        found.folder = domain
        found.problems[:0] = link_problems(domain, bad_links) + folder_problems(domain, wanted, [*classes, *surplus])
        found.unused.add(
            "beside the class folders", [f"{domain.relative_to(self.place).as_posix()}/{name}" for name in files]
        )
        return found

    def conditions(self) -> list[Condition]:
        found = self._domain_folders(self.place)
        return [Condition(name) for name in self.card.domains if name in found]

    def tree_problems(self) -> list[str]:
        """Name missing domains; other folders may be part of the release, such as ImageNet-D's questions."""
        problems, found = link_problems(self.place, list_folder(self.place)[2]), self._domain_folders(self.place)
        if missing := [name for name in self.card.domains if name not in found]:
            problems.append(f"{self.place} lacks the domains {first_few(missing)}; unpack what is missing")
        return problems

    def _domain_folders(self, place: Path) -> dict[str, Path]:
        return domain_folders(place, self.card.domains)

    @cached_property
    def _label_of(self) -> dict[str, int]:
        """Return the label by class folder, those that are merged included."""
        labels = {folder: label for label, folder in enumerate(self.class_list().folders)}
        return {**labels, **{folder: labels[other] for folder, other in self.options.merged.items()}}
