"""Untrusted archives: every format gives the same files, and a malicious one leaves nothing behind."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.data.sources import packed_sizes
from resnet_cli.data.sources.fetching import archive_reader, archives
from resnet_cli.data.sources.fetching.archives import is_archive_name, unpack, unpacked
from resnet_cli.errors import DataError, DiskError, ResnetCliError
from resnet_cli.system.paths import data_dir

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstd.compress,
}
SUFFIXES = ("zip", *PACKERS)
#: Incompressible data.
NOISE = random.Random(0).randbytes(3000)
FILES = {
    "cat/1.jpg": NOISE,
    "cat/deep/er/2.jpg": NOISE[:512],
    "dog/läufer 猫.jpg": NOISE[:700],
    "dog/empty.jpg": b"",
    "notes.txt": b"text " * 200,
}
ROOT = Path(archives.__file__).parents[3]

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


class Odd(NamedTuple):
    """A member that is not a plain file: for a tar its type, for a zip its mode."""

    tar_type: bytes
    mode: int
    target: str = ""


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing all disks of the system, which takes as long as their other work."""
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


def tar_bytes(files: dict[str, bytes | Odd], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, Odd):
                info.type, info.linkname = data.tar_type, data.target
                tar.addfile(info)
            else:
                info.size, info.mode = len(data), 0o777
                tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def zip_bytes(files: dict[str, bytes | Odd]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            # ZipInfo cleans names; a malicious writer does not.
            info.filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (data.mode if isinstance(data, Odd) else stat.S_IFREG | 0o777) << 16
            file.writestr(info, data.target if isinstance(data, Odd) else data)
    return sink.getvalue()


def packed(suffix: str, files: dict[str, bytes | Odd]) -> bytes:
    return zip_bytes(files) if suffix == "zip" else PACKERS[suffix](tar_bytes(files))


def write_archive(folder: Path, suffix: str, files: Any) -> Path:
    path = folder / f"photos.{suffix}"
    path.write_bytes(files if isinstance(files, bytes) else packed(suffix, files))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, reason: str | None = None) -> DataError:
    """Asserts that unpacking raises a DataError and leaves nothing behind, inside the folder or outside."""
    place = archive.parent / "place"
    place.mkdir(exist_ok=True)
    before = sorted(os.listdir(archive.parent))
    with pytest.raises(DataError, match=reason) as caught:
        unpack(archive, place / "new")
    assert os.listdir(place) == [".new.lock"]
    assert sorted(os.listdir(archive.parent)) == before
    assert str(archive) in caught.value.message and caught.value.hint and caught.value.exit_code == 3
    return caught.value


@pytest.mark.parametrize(
    "name",
    ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tbz2", "a.tar.xz", "a.txz", "a.tar.zst", "a.TZST", "B.Zip"],
)
def test_an_archive_is_known_by_its_name(name: str) -> None:
    assert is_archive_name(name)
    assert not is_archive_name(f".{name}") and not is_archive_name(f"{name}.jpg")


@pytest.mark.parametrize("name", ["a.gz", "a.rar", "a.7z", "zip", "tar.gz", "", "a.jpg", "a.csv.gz"])
def test_nothing_else_is_an_archive(name: str) -> None:
    assert not is_archive_name(name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_files(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path, suffix, FILES)
    seen: list[tuple[int, int | None]] = []
    assert unpack(archive, tmp_path / "a" / "b", on_progress=lambda *done: seen.append(done)) == 0
    assert tree(tmp_path / "a" / "b") == FILES
    total = sum(map(len, FILES.values()))
    assert seen[-1] == (total, total if suffix == "zip" else None)
    assert len(seen) == len(FILES) and seen == sorted(seen, key=lambda done: done[0])


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_dialect_of_tar_gives_the_same_files(tmp_path: Path, form: int) -> None:
    files = {"/".join(["long" * 20, "name" * 20, f"{i}.jpg"]): bytes([i]) * 512 * i for i in range(4)}
    archive = write_archive(tmp_path, "tar", tar_bytes({**files}, form=form))
    unpack(archive, tmp_path / "new")
    assert tree(tmp_path / "new") == files


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["tar", "tar.gz", "txz"])
def test_the_bytes_say_how_a_tar_is_compressed_not_its_name(tmp_path: Path, suffix: str, name: str) -> None:
    archive = write_archive(tmp_path, name, packed(suffix, {**FILES}))
    unpack(archive, tmp_path / "new")
    assert tree(tmp_path / "new") == FILES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_clutter_is_left_out_and_other_files_are_counted(tmp_path: Path, suffix: str) -> None:
    clutter = {"__MACOSX/cat/._1.jpg": b"x", "cat/.DS_Store": b"x", ".git/config": b"x", ".hidden.jpg": b"x"}
    archive = write_archive(tmp_path, suffix, {**clutter, "./cat/1.jpg": b"1", "a\\b\\2.jpg": b"2", "x/y.txt": b""})
    assert unpack(archive, tmp_path / "new", wanted=lambda name: name.endswith(".jpg")) == 1
    assert tree(tmp_path / "new") == {"cat/1.jpg": b"1", "a/b/2.jpg": b"2"}


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_folders_and_the_root_are_no_files(tmp_path: Path, suffix: str) -> None:
    folder = Odd(tarfile.DIRTYPE, stat.S_IFDIR | 0o755)
    archive = write_archive(tmp_path, suffix, {"./": folder, "cat/": folder, "cat/1.jpg": b"1"})
    assert unpack(archive, tmp_path / "new", wanted=lambda name: name == "cat/1.jpg") == 0
    assert tree(tmp_path / "new") == {"cat/1.jpg": b"1"}


def test_an_archive_that_macos_made_keeps_its_names(tmp_path: Path) -> None:
    name = "chat\u0302/猫.jpg"
    data = zip_bytes({name: b"1"})
    # The Finder writes UTF-8 without setting the flag for it.
    flag = struct.pack("<H", 0x800)
    assert data.count(flag + struct.pack("<H", zipfile.ZIP_DEFLATED)) == 2
    plain = data.replace(flag + struct.pack("<H", zipfile.ZIP_DEFLATED), struct.pack("<HH", 0, zipfile.ZIP_DEFLATED))
    unpack(write_archive(tmp_path, "zip", plain), tmp_path / "new")
    assert tree(tmp_path / "new") == {name: b"1"}


@posix_only
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_get_the_mode_of_new_files(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path, suffix, {"run.jpg": b"1"})
    before = os.umask(0o027)
    try:
        unpack(archive, tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "run.jpg").stat().st_mode) == 0o640


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../up.jpg", "would be outside"),
        ("cat/../../up.jpg", "would be outside"),
        ("cat\\..\\..\\up.jpg", "would be outside"),
        ("/etc/up.jpg", "would be outside"),
        ("\\up.jpg", "would be outside"),
        ("//host/share/up.jpg", "would be outside"),
        ("\\\\host\\share\\up.jpg", "would be outside"),
        ("C:\\up.jpg", "would be outside"),
        ("c:up.jpg", "would be outside"),
        ("..", "would be outside"),
        (".hidden/../../up.jpg", "would be outside"),
        ("/".join("a" * 300), "too long"),
        ("a" * 256 + ".jpg", "too long"),
        ("/".join(["a" * 200] * 8), "too long"),
        (".", "cannot be"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_name_that_leads_elsewhere_refuses_the_archive(tmp_path: Path, suffix: str, name: str, reason: str) -> None:
    error = refused(write_archive(tmp_path, suffix, {"good.jpg": b"1", name: b"2"}), reason)
    assert repr(name[:24])[:-1] in error.message


def test_a_name_with_a_nul_refuses_the_archive(tmp_path: Path) -> None:
    refused(write_archive(tmp_path, "zip", {"cat/1\0.jpg": b"1"}), "cannot be a file name")
    # Only a pax header can carry one; other names of a tar end at it.
    info = tarfile.TarInfo("1.jpg")
    info.pax_headers = {"path": "cat/1\0.jpg"}
    data = info.tobuf(tarfile.PAX_FORMAT) + bytes(10240)
    refused(write_archive(tmp_path, "tar", data), "cannot be a file name")


def test_a_message_shows_a_name_without_its_control_characters(tmp_path: Path) -> None:
    error = refused(write_archive(tmp_path, "tar", {"../\x1b[2J\n.jpg": b""}))
    assert "\x1b" not in error.message and "\n" not in error.message


LINK = Odd(tarfile.SYMTYPE, stat.S_IFLNK | 0o777, "/etc")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.zst"])
@pytest.mark.parametrize(
    "hostile",
    [
        {"cat": LINK},
        {"cat": LINK, "cat/up.jpg": b"1"},
        {"cat": Odd(tarfile.SYMTYPE, stat.S_IFLNK, "../.."), "cat/up.jpg": b"1"},
        {"cat.jpg": Odd(tarfile.LNKTYPE, stat.S_IFLNK, "/etc/passwd"), "dog.jpg": b"1"},
        {"cat.jpg": Odd(tarfile.CHRTYPE, stat.S_IFCHR)},
        {"cat.jpg": Odd(tarfile.BLKTYPE, stat.S_IFBLK)},
        {"cat.jpg": Odd(tarfile.FIFOTYPE, stat.S_IFIFO)},
        {"cat.jpg": Odd(b"Z", stat.S_IFSOCK)},
    ],
    ids=["link", "through", "up", "hardlink", "char", "block", "fifo", "unknown"],
)
def test_a_member_that_is_no_plain_file_refuses_the_archive(
    tmp_path: Path, suffix: str, hostile: dict[str, bytes | Odd]
) -> None:
    refused(write_archive(tmp_path, suffix, {"good.jpg": b"1", **hostile}), "not a plain file")


def test_a_sparse_file_refuses_the_archive(tmp_path: Path) -> None:
    refused(write_archive(tmp_path, "tar", {"a.jpg": Odd(tarfile.GNUTYPE_SPARSE, 0)}), "sparse")
    refused(write_archive(tmp_path, "tar", sparse_pax("1")), "sparse|header")


def sparse_pax(size: str) -> bytes:
    """A pax header with a wrong statement about a member."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = 512
        info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": size}
        tar.addfile(info, io.BytesIO(bytes(512)))
    return sink.getvalue()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "names", [("a.jpg", "./a.jpg"), ("a/b", "a\\b"), ("a", "a/b.jpg"), ("a/b.jpg", "a"), ("a", "a/b/c.jpg")], ids=str
)
def test_two_members_at_one_place_refuse_the_archive(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    refused(write_archive(tmp_path, suffix, dict.fromkeys(names, b"1")), "occurs twice, or is both")


def test_names_that_windows_cannot_hold_are_made_safe_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_ON_WINDOWS", True)
    names = [
        "CON/1.jpg",
        "a/nul.jpg",
        "com1",
        "bb:c?.jpg",
        "dots.../1",
        "space /1",
        "conga.jpg",
        "a/lpt¹.jpg",
        "t\t.jpg",
    ]
    unpack(write_archive(tmp_path, "tar", dict.fromkeys(names, b"1")), tmp_path / "new")
    assert sorted(tree(tmp_path / "new")) == sorted(
        ["_CON/1.jpg", "a/_nul.jpg", "_com1", "bb_c_.jpg", "dots_/1", "space_/1", "conga.jpg", "a/_lpt¹.jpg", "t_.jpg"]
    )
    both = write_archive(tmp_path, "zip", {"a?.jpg": b"1", "a*.jpg": b"2"})
    with pytest.raises(DataError, match="occurs twice"):
        unpack(both, tmp_path / "both")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_bomb_is_stopped_while_it_unfolds(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_sizes, "RATIO_FROM_BYTES", 2_000_000)
    zeros = {f"{i}.jpg": bytes(1_000_000) for i in range(4)}
    refused(write_archive(tmp_path, suffix, zeros), "200 times its size")
    # Unwanted members are decompressed too.
    archive = write_archive(tmp_path, suffix, zeros)
    if suffix != "zip":
        with pytest.raises(DataError, match="200 times its size"):
            unpack(archive, tmp_path / "new", wanted=lambda name: False)


def test_the_real_limit_stops_a_bomb(tmp_path: Path) -> None:
    refused(write_archive(tmp_path, "zip", {"0.jpg": bytes(packed_sizes.RATIO_FROM_BYTES + 1)}), "200 times its size")
    refused(write_archive(tmp_path, "tar.zst", {"0.jpg": bytes(packed_sizes.RATIO_FROM_BYTES)}), "200 times its size")


def test_a_bomb_that_lies_about_its_size_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_sizes, "RATIO_FROM_BYTES", 2_000_000)
    data = bytearray(zip_bytes({"0.jpg": bytes(4_000_000)}))
    size = struct.pack("<I", 4_000_000)
    assert data.count(size) == 2
    refused(write_archive(tmp_path, "zip", bytes(data.replace(size, struct.pack("<I", 1000)))), "CRC")


def test_a_small_archive_may_shrink_by_any_factor(tmp_path: Path) -> None:
    unpack(write_archive(tmp_path, "tar.xz", {"0.jpg": bytes(5_000_000)}), tmp_path / "new")
    assert (tmp_path / "new" / "0.jpg").stat().st_size == 5_000_000


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_too_much_or_too_many_is_refused(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_reader, "MAX_BYTES", 4000)
    refused(write_archive(tmp_path, suffix, {"a.jpg": NOISE, "b.jpg": NOISE}), "unpacks to more than 4.0 kB")
    monkeypatch.undo()
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    refused(write_archive(tmp_path, suffix, FILES), "more than 3 files")


def test_a_header_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        info = tarfile.TarInfo("a.jpg")
        info.type, info.size = kind, 8**11 - 1
        data = gzip.compress(info.tobuf() + bytes(200_000))
        refused(write_archive(tmp_path, "tar.gz", data), "header is longer than 65536 bytes")


def test_a_chain_of_headers_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    refused(write_archive(tmp_path, "tar", (info.tobuf() + b"a\0".ljust(512, b"\0")) * 5000))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_negative_size_is_refused_and_does_not_go_in_circles(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.type, info.size = kind, -1024
    first = tar_bytes({"b.jpg": b"1"})[:1024]
    refused(write_archive(tmp_path, "tar", first + info.tobuf(tarfile.GNU_FORMAT) + bytes(10240)))


@pytest.mark.parametrize("bit", [0x1, 0x41, 0x2000])
def test_an_encrypted_zip_says_what_to_do(tmp_path: Path, bit: int) -> None:
    with zipfile.ZipFile(io.BytesIO(zip_bytes({"a.jpg": NOISE}))) as file:
        offset = file.start_dir + 8
    data = bytearray(zip_bytes({"a.jpg": NOISE}))
    struct.pack_into("<H", data, offset, bit)
    error = refused(write_archive(tmp_path, "zip", bytes(data)), "encrypted")
    assert error.hint is not None and "password" in error.hint


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_would_unfold_in_memory_is_refused(tmp_path: Path, method: int) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr("a.jpg", NOISE)
    refused(archive, f"compressed by method {method}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = packed(suffix, {**FILES})
    num_needed = len(whole)
    if suffix == "tar":
        # A bare tar can lose what follows its end mark, the first block of zeros after the last member.
        num_needed = -(-len(whole.rstrip(b"\0")) // 512) * 512 + 512
    for length in {*range(60), *range(60, num_needed, num_needed // 60), *range(num_needed - 60, num_needed)}:
        refused(write_archive(tmp_path, suffix, whole[:length]))


@pytest.mark.parametrize("suffix", PACKERS)
def test_an_archive_cut_between_two_members_is_refused(tmp_path: Path, suffix: str) -> None:
    cut = tar_bytes({"a.jpg": NOISE[:512], "b.jpg": NOISE[:512]})[:2048]
    refused(write_archive(tmp_path, suffix, PACKERS[suffix](cut)), "end mark")
    garbage = cut + NOISE[:1024] + bytes(10240)
    refused(write_archive(tmp_path, suffix, PACKERS[suffix](garbage)), "end mark")


def test_what_follows_the_end_mark_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    more = tar_bytes({"b.jpg": bytes(1_100_000)})
    refused(write_archive(tmp_path, "tar", tar_bytes({"a.jpg": b"1"}) + more), "continues after")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz", "tar.zst"])
def test_a_wrong_checksum_at_the_very_end_is_seen(tmp_path: Path, suffix: str) -> None:
    tar = tar_bytes({**FILES})
    checked = zstd.compress(tar, options={zstd.CompressionParameter.checksum_flag: 1})
    data = bytearray(checked if suffix == "tar.zst" else PACKERS[suffix](tar))
    data[-5 if suffix == "tar.gz" else -1] ^= 1
    refused(write_archive(tmp_path, suffix, bytes(data)))


def test_a_wrong_checksum_of_a_zip_member_is_seen(tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", NOISE)
    data = archive.read_bytes()
    refused(write_archive(tmp_path, "zip", data.replace(NOISE, NOISE[:-1] + bytes([NOISE[-1] ^ 1]))), "CRC")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("data", [b"", b"hello", NOISE, bytes(100)], ids=["empty", "text", "noise", "zeros"])
def test_what_is_no_archive_is_refused(tmp_path: Path, suffix: str, data: bytes) -> None:
    refused(write_archive(tmp_path, suffix, data), "cannot be read")


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_an_archive_that_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    refused(tmp_path / f"gone.{suffix}", "No such file")
    (tmp_path / f"folder.{suffix}").mkdir()
    refused(tmp_path / f"folder.{suffix}")
    with pytest.raises(DataError, match="No such file"):
        unpacked(tmp_path / f"gone.{suffix}")


SMALL: dict[str, bytes | Odd] = {"cat/1.jpg": NOISE[:60], "dog/2.jpg": b"2" * 600}


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_give_files_or_our_own_errors(
    suffix: str, flips: list[tuple[float, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flips")
    data = bytearray(packed(suffix, SMALL))
    for where, mask in flips:
        data[int(where * len(data))] ^= mask
    archive = write_archive(folder, suffix, bytes(data))
    try:
        unpack(archive, folder / "new")
    except ResnetCliError as error:
        assert isinstance(error, DataError)
        assert not (folder / "new").exists()
    assert not (folder / ".new.tmp").exists()
    assert set(os.listdir(folder)) <= {archive.name, "new", ".new.lock"}


def full_disk(*args: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_a_disk_error_and_leaves_nothing(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path, suffix, FILES)
    real = Path.open

    def open_full(path: Path, mode: str = "r", **options: Any) -> Any:
        file = real(path, mode, **options)
        if mode != "xb" or path.name == "1.jpg":
            return file
        file.close()
        return SinkThatIsFull()

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(DiskError, match="No space left") as caught:
        unpack(archive, tmp_path / "new")
    assert caught.value.exit_code == 6 and caught.value.hint and "RESNET_CLI_CACHE" in caught.value.hint
    assert sorted(os.listdir(tmp_path)) == [".new.lock", archive.name]


class SinkThatIsFull(io.BytesIO):
    write = full_disk


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path, "zip", FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    written: list[int] = []
    with pytest.raises(DiskError, match=r"1\.0 kB free, but unpacking photos\.zip needs \d"):
        unpack(archive, tmp_path / "new", on_progress=lambda done, total: written.append(done))
    assert not written and sorted(os.listdir(tmp_path)) == [".new.lock", archive.name]
    # Only wanted files need space.
    unpack(archive, tmp_path / "new", wanted=lambda name: name.endswith("2.jpg"))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_a_stop_in_the_middle_leaves_nothing_and_is_passed_on(tmp_path: Path, stop: type[BaseException]) -> None:
    archive = write_archive(tmp_path, "tar.gz", FILES)

    def interrupt(done: int, total: int | None) -> None:
        raise stop

    with pytest.raises(stop):
        unpack(archive, tmp_path / "new", on_progress=interrupt)
    assert sorted(os.listdir(tmp_path)) == [".new.lock", archive.name]
    unpack(archive, tmp_path / "new")
    assert tree(tmp_path / "new") == FILES


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, "zip", FILES)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(DiskError, match="exists already"):
        unpack(archive, tmp_path / "new")
    with pytest.raises(DiskError):
        unpack(archive, archive / "below")
    assert tree(tmp_path / "new") == {"mine.jpg": b"mine"}


def test_an_archive_is_unpacked_once_until_it_changes(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, "tar.gz", {"a.jpg": b"1"})
    calls: list[int] = []
    folder = unpacked(archive, on_progress=lambda done, total: calls.append(done))
    assert folder.parent == data_dir() / "unpacked" and folder.name.startswith("photos-")
    assert tree(folder) == {"a.jpg": b"1"}
    assert unpacked(archive, on_progress=lambda done, total: calls.append(done)) == folder
    assert calls == [1]
    write_archive(tmp_path, "tar.gz", {"a.jpg": b"changed"})
    changed = unpacked(archive)
    assert changed != folder and tree(changed) == {"a.jpg": b"changed"}
    (tmp_path / "other").mkdir()
    assert unpacked(write_archive(tmp_path / "other", "tar.gz", {"a.jpg": b"1"})) not in (folder, changed)


def test_the_longest_name_of_an_archive_fits_into_the_cache(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, "zip", {"a.jpg": b"1"}).rename(tmp_path / f"{'猫' * 83}.ZIP")
    assert tree(unpacked(archive)) == {"a.jpg": b"1"}


def test_a_damaged_archive_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, "tar.gz", packed("tar.gz", {**FILES})[:-1])
    for _ in range(2):
        with pytest.raises(DataError):
            unpacked(archive)
    assert all(name.endswith(".lock") for name in os.listdir(data_dir() / "unpacked"))


CHILD = """
import sys, time
from pathlib import Path
from resnet_cli.data.sources.fetching.archives import unpacked
def on_progress(done, total):
    print("wrote", flush=True)
    time.sleep(float(sys.argv[2]))
print("starts", flush=True)
sys.stdin.readline()
print(unpacked(Path(sys.argv[1]), on_progress=on_progress), flush=True)
"""


def child(archive: Path, pause_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(archive), str(pause_s)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once_unpack_once(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, "tar.gz", FILES)
    children = [child(archive, 0.05) for _ in range(2)]
    for process in children:
        assert process.stdout and process.stdout.readline() == "starts\n"
    # communicate() of the first would wait before the second is told to go.
    for process in children:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = sorted(process.communicate()[0].splitlines() for process in children)
    assert [process.returncode for process in children] == [0, 0]
    (only_path,), wrote = sorted(outputs, key=len)
    assert wrote == ["wrote"] * len(FILES) + [only_path]
    assert tree(Path(only_path)) == FILES


@posix_only
@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_killed_process_leaves_a_hidden_folder_that_the_next_one_removes(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path, suffix, FILES)
    process = child(archive, 60)
    assert process.stdin and process.stdout
    process.stdin.write("go\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["starts\n", "wrote\n"]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = os.listdir(data_dir() / "unpacked")
    assert len(left) == 2 and all(name.startswith(".") for name in left)
    (temporary,) = (name for name in left if name.endswith(".tmp"))
    (data_dir() / "unpacked" / temporary / "stale.jpg").write_bytes(b"of another time")
    folder = unpacked(archive)
    assert tree(folder) == FILES
    assert sorted(os.listdir(folder.parent)) == [f".{folder.name}.lock", folder.name]


def test_the_files_are_on_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no sync")
    there: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: there.append((tmp_path / "new").exists()))
    unpack(write_archive(tmp_path, "zip", FILES), tmp_path / "new")
    assert there == [False]
