"""What a teacher warns of before the first answer stands in the run, however many processes say it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from apm_tta.cli import main
from apm_tta.harness.storage.manifest_file import read_manifest


def test_imagenet_s_equal_names_are_noted_in_log_manifest_and_table(tmp_path: Path) -> None:
    for number, synset in enumerate(("n01440764", "n04008634")):
        (tmp_path / "set" / synset).mkdir(parents=True)
        image = Image.effect_noise((40, 40), 40 + 10 * number).convert("RGB")
        image.save(tmp_path / "set" / synset / f"{number}.png")
    command = [
        "imagenet-part",
        "--data-root",
        str(tmp_path / "set"),
        "--teacher",
        "embedded",
        "--methods",
        "zeroshot,mta",
    ]
    for out in ("one", "two"):  # the second reads its class weights from the cache
        folder = tmp_path / out
        assert main([*command, "--methods", "zeroshot", "--quiet", "--out", str(folder)]) == 0
        expected = "teacher embedded cannot tell apart 'missile' and 'missile' (657, 744)"
        assert sum(expected in note for note in read_manifest(folder).notes) == 1
        assert (folder / "run.log").read_text().count(expected) == 1
        assert expected in (folder / "results.md").read_text()
