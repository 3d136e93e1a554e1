"""Converters of other engines: silent, contained, and clear if they fail."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from support.full_disk import largest_file, small_disk

from resnet_cli.errors import SetupError
from resnet_cli.exporting.formats.converter import converting, require_start, run_converter


def test_what_a_converter_prints_is_shown_only_if_it_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    code = "import sys; print('working'); open(sys.argv[1], 'w').close(); print('no such layer\\n', file=sys.stderr)"
    run_converter([sys.executable, "-c", code, "made"], made, name="a converter 1.0")
    assert made.exists()
    # It says that it succeeded, but the file is not there.
    with pytest.raises(SetupError, match=r"a converter 1.0 .*: no such layer$"):
        run_converter([sys.executable, "-c", code, "made"], tmp_path / "other", name="a converter 1.0")
    with pytest.raises(SetupError, match=r"exit code 3\): it says nothing"):
        run_converter([sys.executable, "-c", "raise SystemExit(3)"], made, name="a converter 1.0")
    assert capfd.readouterr() == ("", "")


def test_a_relative_path_of_modules_means_the_same_in_the_folder_of_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "module_of_a_test.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "modules")
    made = tmp_path / "new" / "made"
    made.parent.mkdir()
    code = "import module_of_a_test; open('made', 'w').close()"
    run_converter([sys.executable, "-c", code], made, name="a converter 1.0")
    assert made.exists()


def test_a_converter_that_is_installed_and_broken_is_refused_before_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    commands = ((sys.executable, "-c", "import nothing_of_this_name"), (str(tmp_path / "broken"),))
    for command, reason in zip(commands, ("No module named", "Permission denied"), strict=True):
        with pytest.raises(SetupError, match="--format ncnn: pnnx is installed but cannot be used: ") as caught:
            require_start(command, "Usage", name="pnnx", extra="ncnn")
        assert reason in caught.value.message and caught.value.hint and "[ncnn]" in caught.value.hint
    require_start((sys.executable, "-c", "print('Usage: pnnx')"), "Usage", name="pnnx", extra="ncnn")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_converter_that_the_system_killed_is_said_to_be_killed(tmp_path: Path) -> None:
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    with pytest.raises(SetupError, match=r"a converter 1\.0 was killed while it converted the model"):
        run_converter([sys.executable, "-c", code], tmp_path / "made", name="a converter 1.0")


def test_temporary_files_of_a_converter_are_inside_of_what_is_written_and_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "before")
    with converting(tmp_path) as folder:
        # As coremltools does, which removes it when the process ends.
        made = Path(tempfile.mkdtemp(suffix=".mlpackage"))
        code = "import tempfile; open('made', 'w').write(tempfile.gettempdir())"
        run_converter([sys.executable, "-c", code], folder / "made", name="a converter 1.0")
        assert made.parent == folder == Path((folder / "made").read_text()) and folder.parent == tmp_path
    assert os.listdir(tmp_path) == [] and os.environ["TMPDIR"] == "before" and tempfile.gettempdir() != str(folder)


def test_whatever_a_converter_makes_of_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100_000) as disk:
        with pytest.raises(OSError, match="No space left"), converting(disk):
            raise RuntimeError("Could not create the model package")
        code = "open('made', 'wb').write(bytes(10 ** 6))"
        with pytest.raises(OSError, match="No space left"), converting(disk) as folder:
            run_converter([sys.executable, "-c", code], folder / "made", name="a converter 1.0")
        assert os.listdir(disk) == []
    with largest_file(1000), pytest.raises(OSError, match="No space left"), converting(tmp_path) as folder:
        try:
            (folder / "made").write_bytes(bytes(2000))
        except OSError as error:
            raise RuntimeError("basic_ios::clear") from error
