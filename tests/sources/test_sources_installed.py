"""The identity of an installed plug-in: its distribution, its version, and its files as they were imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import mine

from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Method
from apm_tta.sources import Source, method_source
from apm_tta.sources.module_origin import library_version

PACKAGE = "apm_tta_test_plugin"
CODE = f"from apm_tta.methods import Method, Predictions\nfrom {PACKAGE}.inner import STEP\n" + mine("return STEP")


class Plugin:
    """A package of a plug-in on the path, as pip lays it out.

    Args:
        root: folder of packages.
        recorded: whether pip has put the files there, and so lists them; of an editable install it lists none.
    """

    def __init__(self, root: Path, recorded: bool) -> None:
        self.root, self.recorded = root, recorded
        self.package = root / PACKAGE
        self.package.mkdir()
        self.metadata = root / "plugin-1.0.dist-info"
        self.metadata.mkdir()
        for name, content in {"__init__.py": CODE, "inner.py": "STEP = 1\n", "data.yaml": "a: 1\n"}.items():
            (self.package / name).write_text(content)
        (self.metadata / "entry_points.txt").write_text(f"[apm_tta.methods]\nmine = {PACKAGE}:Mine\n")
        self.publish("1.0")

    def publish(self, version: str) -> None:
        """Write metadata: the version, and the list of files where there is one."""
        (self.metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: the-plugin\nVersion: {version}\n")
        files = [path.relative_to(self.root).as_posix() for path in sorted(self.package.rglob("*")) if path.is_file()]
        listed = files if self.recorded else ["__editable__.pth"]
        (self.metadata / "RECORD").write_text(
            "".join(f"{name},,\n" for name in [*listed, "plugin-1.0.dist-info/METADATA"])
        )

    def method(self) -> type[Method]:
        """Return the class as a new process would load it."""
        self.forget()
        return METHODS.get("mine")

    def source(self) -> Source | None:
        """Return its identity in a new process."""
        return method_source("mine", self.method())

    @staticmethod
    def forget() -> None:
        """Leave nothing loaded."""
        METHODS._entries.pop("mine", None)
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        importlib.invalidate_caches()


@pytest.fixture(params=[True, False], ids=["installed", "editable"])
def plugin(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Plugin(tmp_path, request.param)
    Plugin.forget()


def test_a_plugin_is_its_distribution_version_and_files(plugin: Plugin) -> None:
    found = plugin.source()
    assert found is not None
    assert (found.distribution, found.version, len(found.sha256)) == ("the-plugin", "1.0", 64)
    assert plugin.source() == found


@pytest.mark.parametrize(
    ("file", "content"),
    [("inner.py", "STEP = 2\n"), ("__init__.py", CODE + "# a comment\n"), ("data.yaml", "a: 2\n")],
)
def test_every_edited_file_is_another_source(plugin: Plugin, file: str, content: str) -> None:
    """Of the package's data too, which no import shows; back as it was it is the same again."""
    before = plugin.source()
    original = (plugin.package / file).read_text()
    (plugin.package / file).write_text(content)
    after = plugin.source()
    assert before is not None
    assert after is not None
    assert before.sha256 != after.sha256
    (plugin.package / file).write_text(original)
    assert plugin.source() == before


def test_another_version_is_another_source(plugin: Plugin) -> None:
    before = plugin.source()
    plugin.publish("1.1")
    after = plugin.source()
    assert before is not None
    assert after is not None
    assert (after.version, after.sha256) == ("1.1", before.sha256)


def test_byte_code_and_hidden_files_are_no_part_of_it(plugin: Plugin) -> None:
    before = plugin.source()
    (plugin.package / "__pycache__").mkdir()
    (plugin.package / "__pycache__" / "inner.cpython-311.pyc").write_bytes(b"x")
    (plugin.package / ".notes").write_text("x")
    assert plugin.source() == before


def test_files_that_were_edited_after_the_import_are_refused(plugin: Plugin) -> None:
    """Nobody can say then which code runs: one line tells to start Python again."""
    method = plugin.method()
    (plugin.package / "inner.py").write_text("STEP = 2\n")
    with pytest.raises(UserError) as caught:
        method_source("mine", method)
    assert str(caught.value) == (
        f"files of the-plugin 1.0 in {plugin.package} were edited after Mine was imported from them: start Python "
        "again (in a notebook: restart the kernel)"
    )


def test_a_class_that_is_imported_and_registered_by_hand_is_the_same_plugin(plugin: Plugin) -> None:
    """As one that is found by its entry point."""
    by_entry_point = plugin.source()
    plugin.forget()
    METHODS.register("mine")(importlib.import_module(PACKAGE).Mine)
    assert method_source("mine", METHODS.get("mine")) == by_entry_point


def test_another_file_beside_an_installed_package_is_no_part_of_it(plugin: Plugin) -> None:
    """Whether pip lists the files or not: the neighbours in site-packages are other distributions."""
    before = plugin.source()
    (plugin.root / "neighbour.py").write_text("x = 1\n")
    assert plugin.source() == before


def test_an_entry_point_under_another_name_than_the_methods_is_refused(plugin: Plugin) -> None:
    (plugin.metadata / "entry_points.txt").write_text(f"[apm_tta.methods]\nyours = {PACKAGE}:Mine\n")
    with pytest.raises(UserError, match=f"method 'yours' of {PACKAGE}:Mine calls itself 'mine'; give it one name"):
        METHODS.get("yours")


def test_a_plugin_of_one_file_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the folder that it lies in."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    code = "from apm_tta.methods import Method, Predictions\n" + mine()
    file = tmp_path / f"{PACKAGE}.py"
    metadata = tmp_path / "plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: the-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[apm_tta.methods]\nmine = {PACKAGE}:Mine\n")
    found = []
    for content in (code, code, code + "\n"):
        file.write_text(content)
        (tmp_path / "other.py").write_text(f"x = {len(found)}\n")
        Plugin.forget()
        found.append(method_source("mine", METHODS.get("mine")))
    Plugin.forget()
    assert found[0] == found[1] != found[2]


def test_a_folder_that_distributions_share_is_no_package_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ``company.plugin`` the files of ``plugin`` count, and not those of its neighbours in ``company``."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    package = tmp_path / PACKAGE / "plugin"
    package.mkdir(parents=True)
    (package / "inner.py").write_text("from apm_tta.methods import Method, Predictions\n" + mine())
    metadata = tmp_path / "plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: the-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[apm_tta.methods]\nmine = {PACKAGE}.plugin.inner:Mine\n")
    found = []
    for file, content in (
        (package / "__init__.py", ""),
        (tmp_path / PACKAGE / "other.py", "x"),
        (package / "a.txt", "x"),
    ):
        file.write_text(content)
        Plugin.forget()
        found.append(method_source("mine", METHODS.get("mine")))
    Plugin.forget()
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("module", "version"),
    [
        ("torch.nn.functional", "torch"),
        ("torch._C._nn", "torch"),
        ("torch.ops", "torch"),
        ("PIL.Image", "pillow"),
        ("yaml", "PyYAML"),
        ("numpy.random._generator", "numpy"),
    ],
)
def test_a_library_is_told_by_the_version_of_its_distribution(module: str, version: str) -> None:
    """Whatever it is called itself, and of modules too that have no file of their own."""
    importlib.import_module(module.rpartition(".")[0] or module)
    found = library_version(module)
    assert found is not None
    assert found.partition(" ")[0].lower() == version.lower()
    assert found.partition(" ")[2]


def test_python_itself_and_this_package_need_no_version() -> None:
    modules = ["collections.abc", "_thread", "sys", "os.path", "typing", "apm_tta", "apm_tta.methods.mta"]
    assert [library_version(module) for module in modules] == [""] * len(modules)


def test_a_file_that_hides_a_module_of_python_is_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By where it lies, and not by its name."""
    (tmp_path / "this.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.import_module("this")
    assert library_version("this") is None
    monkeypatch.delitem(sys.modules, "this")


@pytest.mark.parametrize("module", ["__main__", "__mp_main__", "apm_tta_test_nowhere", None])
def test_a_notebook_and_a_module_that_nobody_has_are_ones_own(module: str | None) -> None:
    assert library_version(module) is None
