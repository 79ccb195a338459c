"""Puts the folders that are no code into the wheel, and the commit; an editable install reads them where they lie."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ResourcesHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "standard":
            return
        sys.path.insert(0, self.root)
        from apm_tta.package_commit import BUILT_FROM, package_code
        from apm_tta.package_files import FOLDERS, RESOURCES

        included = {folder: f"apm_tta/{RESOURCES}/{folder}" for folder in (*FOLDERS, "results/published")}
        code = package_code(Path(self.root, "apm_tta"))
        if code.is_commit:
            self._folder = TemporaryDirectory()
            stated = Path(self._folder.name, BUILT_FROM)
            stated.write_text(json.dumps({"commit": code.commit, "sha256": code.sha256}), encoding="utf-8")
            included[str(stated)] = f"apm_tta/{RESOURCES}/{BUILT_FROM}"
        build_data["force_include"].update(included)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()
