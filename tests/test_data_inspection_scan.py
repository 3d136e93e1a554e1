"""The scan of every image, and the index that avoids scanning again."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.planted_faults import cut, one_bit_png, photo, write

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection import index, scan
from resnet_cli.data.inspection.duplicates import SIGNATURE_BYTES
from resnet_cli.data.inspection.index import Index, ScannedImage
from resnet_cli.data.inspection.scan import leave_out_unreadable
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.errors import DataError, ImageError, Interrupted
from resnet_cli.images import MAX_PIXELS, decode_whole
from resnet_cli.system.caches import CacheWarning

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX file names")
#: Longer than one tick of a file system's clock.
TICK_S = 0.02


@pytest.fixture(autouse=True)
def nothing_is_racy(monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise nothing that a test has just written would be cached.
    monkeypatch.setattr(index, "RACY_NS", 0)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "photos" / f"{seed:02d}.jpg", seed) for seed in range(6)]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that were read or decoded."""
    names: list[str] = []
    read = Path.read_bytes

    def read_and_note(path: Path) -> bytes:
        names.append(path.name)
        return read(path)

    def decode_and_note(data: bytes, path: str, **options: int) -> object:
        names.append(f"decoded {path}")
        return decode_whole(data, path, **options)

    monkeypatch.setattr(Path, "read_bytes", read_and_note)
    monkeypatch.setattr(scan, "decode_whole", decode_and_note)
    yield names


def items_of(files: list[Path], max_pixels: int = MAX_PIXELS) -> list[Item]:
    return [Item(path.name, path, max_pixels=max_pixels) for path in files]


def scan_files(files: list[Path], max_pixels: int = MAX_PIXELS) -> ScannedImages:
    return scan.scan(items_of(files, max_pixels))


def look_at_all(files: list[Path]) -> list[ScannedImage]:
    """The expected records, without the index."""
    return [scan.scan_image(item) for item in items_of(files)]


def index_path() -> Path:
    return Index().path


# What a scan records.


def test_there_is_one_record_an_item_in_order_whatever_it_is(files: list[Path]) -> None:
    pixels = np.asarray(photo(1))
    items = [*items_of(files[:3]), Item("bytes", files[3].read_bytes()), Item("pixels", pixels)]
    found = scan.scan(items)
    assert [record.sha256 for record in found] == [item.content_hash() for item in items]
    assert [(record.width, record.height, record.mode, record.error) for record in found] == [(64, 48, "RGB", "")] * 5
    assert [record.format for record in found] == ["JPEG"] * 4 + [""]
    assert [record.num_bytes for record in found] == [path.stat().st_size for path in files[:4]] + [pixels.size]
    assert {len(record.signature) for record in found} == {SIGNATURE_BYTES}
    assert found[3] == scan.scan_image(items_of(files)[3])


def test_no_items_are_no_records() -> None:
    assert scan.scan([]) == []


def test_progress_counts_what_was_known_before(files: list[Path]) -> None:
    scan_files(files[:4])
    seen: list[tuple[int, int]] = []
    scan.scan(items_of(files), on_progress=lambda *now: seen.append(now))
    assert seen == [(5, 6), (6, 6)]


def broken_files(folder: Path) -> dict[str, str]:
    """Name -> part of the reason."""
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "bomb.png").write_bytes(one_bit_png(10_000, 6_000))
    cut(folder / "00.jpg", folder / "cut.jpg")
    (folder / "folder.jpg").mkdir()
    return {
        "empty.jpg": "the file is empty",
        "text.jpg": "not an image in a known format",
        "bomb.png": "more than the limit of 50,000,000",
        "cut.jpg": "damaged: ",
        "gone.jpg": "No such file",
        "folder.jpg": "not a file",
        "nul\0.jpg": "embedded null",
    }


def test_what_cannot_be_read_says_why_and_changes_no_other_record(files: list[Path]) -> None:
    truth = look_at_all(files)
    reasons = broken_files(files[0].parent)
    mixed: list[Path] = []
    for path, name in zip([*files, files[0]], reasons, strict=True):
        mixed += [path, files[0].parent / name]
    for _ in range(2):
        found = scan_files(mixed)
        assert [record.error for record in found[::2]] == [""] * 7
        assert found[::2] == [*truth, truth[0]]
        for record, reason in zip(found[1::2], reasons.values(), strict=True):
            assert reason in record.error
            assert (record.width, record.height, record.signature) == (0, 0, b"")


@POSIX
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (found,) = scan_files([tmp_path / "pipe.jpg"])
    assert found.error == "not a file"


def test_an_image_that_does_not_fit_into_memory_has_a_reason(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert "memory" in scan_files(files[:1])[0].error


# What is not scanned again.


def test_a_second_scan_opens_no_file_and_says_the_same(files: list[Path], opened: list[str]) -> None:
    broken = [files[0].parent / name for name in broken_files(files[0].parent)][:4]
    opened.clear()
    first = scan_files([*files, *broken])
    assert len(opened) == 2 * 10
    opened.clear()
    assert scan_files([*files, *broken]) == first
    assert opened == []


def test_one_file_of_another_folder_is_found_too(files: list[Path], tmp_path: Path, opened: list[str]) -> None:
    far = write(tmp_path / "far" / "x.jpg", 9)
    scan_files([*files, far])
    opened.clear()
    scan_files([files[2], far])
    scan_files([far])
    assert opened == []


def change_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def replace_file(path: Path) -> None:
    twin = path.with_suffix(".tmp")
    shutil.copy2(path, twin)
    change_bytes(twin)
    twin.replace(path)


@pytest.mark.parametrize("change", [change_bytes, replace_file])
def test_other_bytes_of_the_same_size_and_time_are_seen(files: list[Path], change: Callable[[Path], None]) -> None:
    before = scan_files(files)
    about = files[2].stat()
    time.sleep(TICK_S)
    change(files[2])
    os.utime(files[2], ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (files[2].stat().st_size, files[2].stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    after = scan_files(files)
    assert after == look_at_all(files)
    assert [position for position in range(6) if after[position] != before[position]] == [2]


def test_a_file_that_was_removed_is_missed_and_one_that_comes_back_is_found(files: list[Path]) -> None:
    before = scan_files(files)
    files[1].rename(files[1].with_suffix(".away"))
    assert "No such file" in scan_files(files)[1].error
    files[1].with_suffix(".away").rename(files[1])
    assert scan_files(files) == before


@POSIX
def test_a_link_to_another_file_is_seen(files: list[Path], tmp_path: Path) -> None:
    targets = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg"]
    data = files[0].read_bytes()
    for number, target in enumerate(targets):
        target.parent.mkdir()
        # The same size and, as after unpacking an archive, the same time.
        target.write_bytes(data + bytes([number]))
        os.utime(target, ns=(10**18, 10**18))
    link = tmp_path / "link.jpg"
    for target in targets:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert scan_files([link]) == look_at_all([link])


def test_a_file_that_has_just_changed_is_not_remembered(
    files: list[Path], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hour_ns = 3600 * 10**9
    monkeypatch.setattr(index, "RACY_NS", hour_ns)
    scan_files(files)
    opened.clear()
    scan_files(files)
    assert len(opened) == 2 * 6


@pytest.mark.parametrize("about", ["decoder", "record"])
def test_another_decoder_or_another_kind_of_record_looks_again(
    files: list[Path], opened: list[str], monkeypatch: pytest.MonkeyPatch, about: str
) -> None:
    scan_files(files)
    opened.clear()
    if about == "decoder":
        monkeypatch.setattr(index, "decoder_version", lambda *_: "another")
    else:
        monkeypatch.setattr(index, "INDEX_VERSION", index.INDEX_VERSION + 1)
    scan_files(files)
    assert len(opened) == 2 * 6


def test_another_pixel_limit_looks_again(files: list[Path]) -> None:
    assert "more than the limit of 100" in scan_files(files, max_pixels=100)[0].error
    assert scan_files(files)[0].error == ""
    assert "more than the limit of 100" in scan_files(files, max_pixels=100)[0].error


@POSIX
def test_names_that_are_not_utf_8_are_remembered(tmp_path: Path, opened: list[str]) -> None:
    paths = [Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)) for name in (b"\xff\xfe.jpg", b"a'\"\n\x80.jpg")]
    for seed, path in enumerate(paths):
        write(path, seed)
    first = scan_files(paths)
    opened.clear()
    assert scan_files(paths) == first
    assert opened == []


def test_an_interrupt_keeps_what_was_done(files: list[Path], opened: list[str]) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="not be checked again"):
        scan.scan(items_of(files), on_progress=interrupt)
    opened.clear()
    assert scan_files(files) == look_at_all(files)
    read_by_scan = opened[: opened.index("00.jpg")]
    assert len(read_by_scan) == 2 * 2


def test_what_may_be_readable_the_next_time_is_not_remembered(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", raising(PermissionError(13, "Permission denied")))
        assert [record.error for record in scan_files(files[:2])] == ["Permission denied"] * 2
    with monkeypatch.context() as patch:
        patch.setattr(
            scan, "decode_whole", raising(ImageError("x", "too large for this machine's memory"), MemoryError())
        )
        assert "memory" in scan_files(files[2:3])[0].error
    assert scan_files(files) == look_at_all(files)


def raising(error: Exception, cause: Exception | None = None) -> Callable[..., bytes]:
    def fail(*_: object, **__: object) -> bytes:
        raise error from cause

    return fail


# Whatever is wrong with the index, the images are scanned again.


def foreign_columns(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE pictures (path BLOB PRIMARY KEY, state TEXT)")
        foreign.commit()


def foreign_values(path: Path) -> None:
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("UPDATE pictures SET width = 'wide', sha256 = NULL, signature = 7")
        foreign.execute("UPDATE pictures SET path = path || x'00' WHERE rowid = 1")
        foreign.commit()


def swapped_records(path: Path) -> None:
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("UPDATE pictures SET sha256 = (SELECT sha256 FROM pictures LIMIT 1)")
        foreign.execute("UPDATE pictures SET transparent = 1, error = 'damaged'")
        foreign.commit()


def no_utf_8(path: Path) -> None:
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("UPDATE pictures SET error = CAST(x'ff' AS TEXT), mode = CAST(x'80' AS TEXT)")
        foreign.commit()


def not_a_table(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE VIEW pictures AS SELECT 1 AS path, 2 AS state")
        foreign.commit()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a database " * 500),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "only its head": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "one page": lambda path: path.write_bytes(path.read_bytes()[:4096]),
    "half a page less": lambda path: path.write_bytes(path.read_bytes()[:-2048]),
    "a page less": lambda path: path.write_bytes(path.read_bytes()[:-4096]),
    "a log of something else": lambda path: Path(f"{path}-wal").write_bytes(os.urandom(5000)),
    "another table": foreign_columns,
    "no table": not_a_table,
    "other values": foreign_values,
    "mixed up": swapped_records,
    "no text": no_utf_8,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_index_gives_no_wrong_record_and_heals(name: str, files: list[Path], opened: list[str]) -> None:
    truth = scan_files(files)
    DAMAGES[name](index_path())
    assert scan_files(files) == truth
    assert scan_files(files) == truth
    opened.clear()
    assert scan_files(files) == truth
    assert opened == []


def test_no_changed_byte_of_the_index_gives_a_wrong_record(files: list[Path]) -> None:
    truth = scan_files(files)
    whole = index_path().read_bytes()
    rng = np.random.default_rng(0)
    # Most of each page is empty; where there are records, every few bytes are tried.
    used = [offset for offset in range(len(whole)) if any(whole[max(0, offset - 8) : offset + 8])]
    for offset in rng.choice(used, 250, replace=False):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(rng.integers(8))
        index_path().write_bytes(damaged)
        assert scan_files(files) == truth, offset


def test_a_folder_in_the_place_of_the_index_is_passed_over(files: list[Path]) -> None:
    index_path().mkdir(parents=True)
    assert scan_files(files) == look_at_all(files)


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file"])
def test_a_cache_that_cannot_be_used_is_passed_over(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", place if place != "a file" else str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match="cannot be written"):
        assert scan_files(files) == look_at_all(files)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_may_only_be_read_is_read(files: list[Path], opened: list[str]) -> None:
    truth = scan_files(files)
    index_path().chmod(0o444)
    index_path().parent.chmod(0o555)
    opened.clear()
    try:
        with pytest.warns(CacheWarning, match="cannot be written"):
            assert scan_files(files) == truth
    finally:
        index_path().parent.chmod(0o755)
    assert opened == []


def test_an_index_that_another_process_holds_is_read_and_left_alone(files: list[Path], opened: list[str]) -> None:
    truth = scan_files(files[:3])
    with closing(sqlite3.connect(index_path())) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM pictures")
        opened.clear()
        assert scan_files(files)[:3] == truth
        assert len(opened) == 2 * 3
        other.rollback()
    opened.clear()
    scan_files(files)
    assert len(opened) == 2 * 3


SCANNER = """
import sys
from pathlib import Path
from resnet_cli.data.inspection import index
from resnet_cli.data.inspection import scan
from resnet_cli.data.dataset import Item
index.RACY_NS = 0
scan.SAVE_EVERY = 5
files = sorted(Path(sys.argv[1]).iterdir())
for _ in range(2):
    found = scan.scan([Item(path.name, path) for path in files])
print(repr([(image.sha256, image.width, image.error) for image in found]))
"""


def test_two_processes_at_once_say_the_same(tmp_path: Path, opened: list[str]) -> None:
    files = [write(tmp_path / "photos" / f"{seed:03d}.jpg", seed) for seed in range(80)]
    processes = [
        subprocess.Popen([sys.executable, "-c", SCANNER, files[0].parent], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    opened.clear()
    found = scan_files(files)
    assert said == {repr([(record.sha256, record.width, record.error) for record in found])}
    assert opened == []


def test_an_index_that_nobody_used_for_long_goes_and_others_stay(files: list[Path]) -> None:
    folder = index_path().parent
    folder.mkdir(parents=True)
    old, log, recent, foreign = (
        folder / name
        for name in ("pictures-000.sqlite", "pictures-000.sqlite-wal", "pictures-111.sqlite", "features.sqlite")
    )
    for path in (old, log, recent, foreign):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    scan_files(files)
    assert [path.exists() for path in (old, log, recent, foreign)] == [False, False, True, True]


def test_the_oldest_records_go_when_there_are_too_many(
    files: list[Path], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_ROWS", 4)
    scan_files(files[:3])
    scan_files(files[3:])
    opened.clear()
    scan_files(files)
    assert sorted(name for name in opened if "decoded" not in name) == ["00.jpg", "01.jpg"]


# Unreadable images are omitted or raise an error.


def test_by_default_all_that_cannot_be_read_is_named_up_to_ten(files: list[Path]) -> None:
    bad = [files[0].parent / f"bad{number:02d}.jpg" for number in range(12)]
    items = items_of([*bad, *files])
    with pytest.raises(DataError) as caught:
        leave_out_unreadable(items, scan.scan(items), "error")
    message = caught.value.message
    assert message.startswith("12 of 18 images cannot be read:")
    assert [str(path) in message for path in bad] == [True] * 10 + [False] * 2
    assert message.endswith("and 2 more")
    assert "--on-bad-image skip" in (caught.value.hint or "")


def test_skipping_keeps_the_others_as_they_are(files: list[Path]) -> None:
    items = [Item(path.name, path, labels=(number,)) for number, path in enumerate(files)]
    files[1].write_text("damaged")
    files[4].unlink()
    kept, images, errors = leave_out_unreadable(items, scan.scan(items), "skip")
    assert kept == [items[number] for number in (0, 2, 3, 5)]
    assert images == [scan.scan_image(item) for item in kept]
    assert [error.path for error in errors] == [str(files[1]), str(files[4])]


def test_nothing_to_read_at_all_is_an_error_even_when_skipping(files: list[Path]) -> None:
    items = items_of(files)
    for path in files:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="6 of 6 images cannot be read") as caught:
        leave_out_unreadable(items, scan.scan(items), "skip")
    assert "skip" not in (caught.value.hint or "")
