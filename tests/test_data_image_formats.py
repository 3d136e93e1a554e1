"""Images of formats that cannot be read, and images without an image's name, are never passed over silently."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from resnet_cli.data.inputs.file_walk import images_below
from resnet_cli.data.inputs.opening import find_images
from resnet_cli.data.inspection.findings import find_problems
from resnet_cli.data.inspection.index import stamp_file
from resnet_cli.data.inspection.inspect import inspect_images
from resnet_cli.data.inspection.scan import leave_out_unreadable, scan
from resnet_cli.data.sources.fetching import archives
from resnet_cli.data.sources.fetching.hub_files import _extension
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError
from resnet_cli.images import EXTENSIONS

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(999)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


@pytest.fixture(autouse=True)
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pillow_heif", "imagecodecs", "pydicom"):
        monkeypatch.setitem(sys.modules, module, None)


def jpeg(seed: int = 0) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (20, 16), (seed * 40 % 256, 90, 200)).save(data, "JPEG")
    return data.getvalue()


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two classes of three JPEG files, one of them with two HEIC files too."""
    files = {f"{name}/{number}.jpg": jpeg(number) for name in ("cat", "dog") for number in range(3)}
    return fill(tmp_path / "mixed", files | {f"cat/IMG_{number}.HEIC": HEIC + bytes([number]) for number in range(2)})


def test_phone_photos_beside_others_stop_a_training_with_the_command_that_reads_them(mixed: Path) -> None:
    dataset = read_folder(mixed)
    assert len(dataset.items) == 8 and not dataset.notes
    images = scan(dataset.items)
    with pytest.raises(DataError, match="2 of 8 images cannot be read") as caught:
        leave_out_unreadable(dataset.items, images, "error")
    assert "IMG_0.HEIC: HEIC needs pillow-heif" in caught.value.message
    assert caught.value.hint and "install the package that reads them: " in caught.value.hint
    assert "formats" in caught.value.hint and "--on-bad-image skip" in caught.value.hint
    good, _, errors = leave_out_unreadable(dataset.items, images, "skip")
    assert len(good) == 6 and len(errors) == 2


def test_inspect_names_them_and_says_what_to_install(mixed: Path) -> None:
    dataset = read_folder(mixed)
    inspection = inspect_images(dataset, scan(dataset.items))
    assert [item.name for item, _ in inspection.unreadable] == ["cat/IMG_0.HEIC", "cat/IMG_1.HEIC"]
    (finding,) = [found for found in find_problems(inspection) if found.code == "unreadable"]
    assert "pillow-heif" in finding.message and "install the package that reads them: " in finding.fix


def test_a_folder_of_nothing_else_is_no_empty_folder(tmp_path: Path) -> None:
    dataset = read_folder(fill(tmp_path, {f"{name}/{n}.heic": HEIC for name in ("cat", "dog") for n in range(2)}))
    images = scan(dataset.items)
    with pytest.raises(DataError, match="4 of 4 images cannot be read"):
        leave_out_unreadable(dataset.items, images, "skip")
    inspection = inspect_images(dataset, images)
    assert find_problems(inspection)[0].code == "unreadable"
    assert not inspection.exact


def test_an_image_that_could_not_be_read_for_want_of_a_library_is_read_when_it_is_there(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mixed / "cat" / "IMG_0.HEIC"
    (image,) = scan([item for item in read_folder(mixed).items if item.source == path])
    # Records without a hash are not kept.
    assert image.error and not image.sha256
    before = stamp_file(path, 100), stamp_file(mixed / "cat" / "0.jpg", 100)
    monkeypatch.setattr(
        "resnet_cli.data.inspection.index.special_decoder", lambda name: "heif 99" * name.endswith(".HEIC")
    )
    after = stamp_file(path, 100), stamp_file(mixed / "cat" / "0.jpg", 100)
    assert before[0] and after[0] and before[0].state != after[0].state
    assert before[1] == after[1]


def test_git_lfs_pointers_are_called_by_their_name(tmp_path: Path) -> None:
    dataset = read_folder(fill(tmp_path, {f"{name}/{n}.jpg": POINTER for name in ("cat", "dog") for n in range(2)}))
    with pytest.raises(DataError, match="git lfs pull"):
        leave_out_unreadable(dataset.items, scan(dataset.items), "error")


def test_images_to_predict_on_are_found_by_every_extension(tmp_path: Path) -> None:
    fill(tmp_path, {f"a{extension}": b"x" for extension in EXTENSIONS})
    fill(tmp_path, {"b.pdf": b"x", "b.svg": b"x", "b.mp4": b"x", "b.psd": b"x"})
    assert {Path(path).suffix for path in images_below(str(tmp_path))} == EXTENSIONS


def test_an_archive_keeps_images_of_every_format(tmp_path: Path) -> None:
    archive = tmp_path / "phone.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("cat/1.heic", "dog/1.heic", "cat/2.avif", "dog/2.dng", "dog/3.pdf"):
            file.writestr(name, HEIC)
    assert sorted(item.name for item in open_dataset(str(archive)).items) == [
        "cat/1.heic",
        "cat/2.avif",
        "dog/1.heic",
        "dog/2.dng",
    ]


def test_an_archive_that_was_unpacked_with_fewer_formats_is_unpacked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat/1.jpg", jpeg())
    monkeypatch.setattr(archives, "WANTED_VERSION", archives.WANTED_VERSION - 1)
    before = archives.unpacked(archive)
    monkeypatch.undo()
    assert archives.unpacked(archive) != before


def test_images_of_a_parquet_file_get_the_extension_of_their_content() -> None:
    assert _extension(HEIC) == ".heic" and _extension(jpeg()) == ".jpg" and _extension(b"?") == ".jpg"
    assert _extension(b"II*\0" + bytes(20)) == ".tiff" and _extension(POINTER) == ".jpg"


def test_a_folder_whose_files_have_no_extension_says_what_they_are_and_how_to_rename_them(tmp_path: Path) -> None:
    folder = fill(tmp_path / "no names", {f"{name}/{n}": jpeg(n) for name in ("cat", "dog") for n in range(2)})
    with pytest.raises(DataError, match=r"such as cat/0 are images by their content \(JPEG\)") as caught:
        read_folder(folder)
    assert (
        caught.value.hint == f"give them an extension: find '{folder}' -type f ! -name '*.*' -exec mv {{}} {{}}.jpg ';'"
    )
    with pytest.raises(DataError, match=r"such as cat/0 are images by their content") as caught:
        find_images([str(folder)], stdin=io.BytesIO())


def test_files_without_extension_beside_images_are_noted(tmp_path: Path) -> None:
    files = {f"{name}/{n}.jpg": jpeg(n) for name in ("cat", "dog") for n in range(3)}
    dataset = read_folder(fill(tmp_path, files | {"dog/flickr_17": jpeg(), "dog/notes": b"no image"}))
    assert len(dataset.items) == 6
    assert any("dog/flickr_17 are images by their content (JPEG)" in note for note in dataset.notes)
    assert any("files that are not images were ignored: 2" in note for note in dataset.notes)


def test_texts_and_tables_beside_images_are_not_taken_for_images(tmp_path: Path) -> None:
    files = {f"{name}/{n}.jpg": jpeg(n) for name in ("cat", "dog") for n in range(3)}
    others = {"cat/notes.txt": b"BM is a text", "cat/a.md": b"P5 a text", "cat/x.json": b"{}", "cat/.hidden": jpeg()}
    assert read_folder(fill(tmp_path, files | others)).notes == ("files that are not images were ignored: 3",)
