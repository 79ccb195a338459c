"""Puts the folders that are no code into the wheel; an editable install reads them where they lie."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("datasets", "benchmarks/suites", "results/published")


class ResourcesHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"].update({folder: f"apm_tta/_resources/{folder}" for folder in FOLDERS})
