"""The members of an untrusted zip or tar as streams of bytes, limited in size, with every checksum verified.

Headers are not trusted: neither their sizes nor where they claim that the archive ends.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from resnet_cli.data.sources.packed_sizes import MAX_RATIO, unpacked_limit
from resnet_cli.errors import DataError
from resnet_cli.text import size

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Larger archives are not unpacked into the cache.
MAX_BYTES = 100 * 10**9

# First bytes -> reader. The name does not decide: browsers decompress a `.tar.gz` and keep its name. pzstd begins with
# a skippable frame. Source: RFC 1952, RFC 8878, the xz file format 1.2, and bzip2's manual.
_DECOMPRESSORS: dict[bytes, Callable[[Path], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
    b"\x50\x2a\x4d\x18": zstd.ZstdFile,
}
# Source: POSIX.1-2017, pax, "ustar Interchange Format".
_USTAR_AT, _USTAR = 257, b"ustar"
_CHUNK_BYTES = 256 * 1024
# A member's header with a long name and extended attributes takes a few KB; tarfile reads all of it into memory.
_MAX_HEADER_BYTES = 64 * 1024
# Source: GNU tar pads to whole records of 20 blocks, 10 240 bytes; other writers use less than 1 MiB.
_MAX_PADDING_BYTES = 1024 * 1024

_NEW_COPY = "download the archive again; if that does not help, unpack it by hand and give the folder"
_BY_HAND = "check it, pack it again with plain files and names, or unpack it by hand and give the folder"
# Errors of zipfile, tarfile and the decompressors on invalid bytes.
_DAMAGE = (
    OSError,
    EOFError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    zstd.ZstdError,
    struct.error,
    ValueError,
    ArithmeticError,
    LookupError,
    # Includes NotImplementedError (a zip feature) and RecursionError (nested headers).
    RuntimeError,
    MemoryError,
)


@dataclass(frozen=True)
class Member:
    """One member as the archive describes it.

    Attributes:
        name: Name as written in the archive.
        kind: ``file``, ``folder``, or a description of anything else.
        num_bytes: Size according to its header.
        chunks: Reads the member; can be called once, and only before the next member is requested.
    """

    name: str
    kind: str
    num_bytes: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass
class Budget:
    """Counts the unpacked bytes of an archive, and limits them."""

    archive: Path
    num_packed: int
    num_spent: int = 0

    def spend(self, num_bytes: int) -> None:
        """Counts bytes that have been unpacked.

        Raises:
            DataError: There are too many.
        """
        self.num_spent += num_bytes
        self.check(self.num_spent)

    def check(self, num_bytes: int) -> None:
        """Rejects an archive that unpacks to too many bytes.

        Raises:
            DataError: ``num_bytes`` is over the limit.
        """
        if num_bytes > MAX_BYTES:
            refuse(self.archive, f"it unpacks to more than {size(MAX_BYTES)}")
        if num_bytes > unpacked_limit(self.num_packed):
            refuse(self.archive, f"it unpacks to more than {MAX_RATIO} times its size, as a decompression bomb does")


@contextlib.contextmanager
def readable(archive: Path) -> Iterator[None]:
    """Turns errors of the libraries that read an archive into one that names it.

    Raises:
        DataError: The archive cannot be read.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{archive}: the archive cannot be read: {reason}", hint=_NEW_COPY) from error


def refuse(archive: Path, reason: str, *, hint: str = _BY_HAND) -> NoReturn:
    """Rejects a whole archive.

    Raises:
        DataError: Always.
    """
    raise DataError(f"{archive}: refused: {reason}", hint=hint)


@contextlib.contextmanager
def open_members(budget: Budget) -> Iterator[list[Member] | Iterator[Member]]:
    """Opens the budget's archive: yields the list of a zip's members, or an iterator over those of a tar.

    Raises:
        DataError: It is not an archive or is encrypted; while members are read, it is damaged or too large.
    """
    archive = budget.archive
    with readable(archive):
        if archive.name.lower().endswith(".zip"):
            source: zipfile.ZipFile | io.BufferedIOBase = zipfile.ZipFile(archive)
        else:
            source = _decompressed(archive)
    with source:
        if isinstance(source, zipfile.ZipFile):
            yield [_zip_member(source, info, budget) for info in source.infolist()]
        else:
            yield _tar_members(_TarStream(source, budget))


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Member:
    chunks = functools.partial(_unzip, file, info, budget)
    return Member(_zip_name(info), _zip_kind(budget.archive, info), info.file_size, chunks)


def _zip_name(info: zipfile.ZipInfo) -> str:
    # zipfile cuts a name at a NUL.
    name = info.orig_filename if "\0" in info.orig_filename else info.filename
    is_utf8 = info.flag_bits & 0x800
    try:
        # macOS writes UTF-8 without marking it; zipfile then decodes it as code page 437.
        return name if is_utf8 else name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _zip_kind(archive: Path, info: zipfile.ZipInfo) -> str:
    # The flags that mean encrypted data, and an encrypted directory. Source: APPNOTE.TXT 6.3.10, 4.4.4.
    if info.flag_bits & 0x2041:
        refuse(archive, "it is encrypted", hint="unpack it by hand with its password, and give the folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link, device or pipe"
    if kind == stat.S_IFDIR or info.filename.endswith(("/", "\\")):
        return "folder"
    # In a zip, bz2 and LZMA decompress in memory without a limit; they are as rare as the other methods.
    is_known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return "file" if is_known else f"compressed by method {info.compress_type}"


def _unzip(file: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Iterator[bytes]:
    # Read to the end, where zipfile verifies the checksum.
    with readable(budget.archive), file.open(info) as source:
        while chunk := source.read(_CHUNK_BYTES):
            budget.spend(len(chunk))
            yield chunk


def _decompressed(archive: Path) -> io.BufferedIOBase:
    with archive.open("rb") as file:
        head = file.read(_USTAR_AT + len(_USTAR))
    if head[_USTAR_AT:] != _USTAR:
        for magic, reader in _DECOMPRESSORS.items():
            if head.startswith(magic):
                return reader(archive)
    return archive.open("rb")


def _tar_members(stream: _TarStream) -> Iterator[Member]:
    with readable(stream.budget.archive), tarfile.TarFile(fileobj=stream) as tar:
        while (info := tar.next()) is not None:
            # tarfile would keep all of them, about 1 KB each.
            tar.members.clear()  # type: ignore[attr-defined]
            yield Member(info.name, _tar_kind(info), info.size, functools.partial(stream.member, info.size))
            stream.num_header_bytes = 0
        stream.finish()


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "folder"
    if info.issparse() or info.size < 0:
        return "a sparse file"
    return "file" if info.isreg() else "a link" if info.issym() or info.islnk() else "a device, pipe or unknown kind"


class _TarStream(io.BufferedIOBase):
    """The decompressed bytes of a tar for tarfile: read forward only, with headers of limited length.

    Otherwise a header with a negative or huge size would make tarfile loop forever or fill the memory.
    """

    def __init__(self, source: io.BufferedIOBase, budget: Budget) -> None:
        self.source = source
        self.budget = budget
        self.position = 0
        self.num_header_bytes = 0
        self.last_block = b""

    def tell(self) -> int:
        return self.position

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads header bytes; :meth:`member` reads members."""
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES - self.num_header_bytes:
            raise tarfile.ReadError(f"a member's header is longer than {_MAX_HEADER_BYTES} bytes")
        self.num_header_bytes += size
        self.last_block = self._pull(size)
        return self.last_block

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if offset < self.position or whence != os.SEEK_SET:
            raise tarfile.ReadError("a member's size is wrong")
        while self.position < offset and self._pull(min(_CHUNK_BYTES, offset - self.position)):
            pass
        return self.position

    def member(self, num_bytes: int) -> Iterator[bytes]:
        """Yields the bytes of the member whose header was read last."""
        with readable(self.budget.archive):
            end = self.position + num_bytes
            while self.position < end:
                chunk = self._pull(min(_CHUNK_BYTES, end - self.position))
                if not chunk:
                    raise EOFError("it ends inside a member")
                yield chunk

    def finish(self) -> None:
        """Reads the rest of the stream, including the checksum at the end of a compressed one."""
        # tarfile also stops at an unreadable header, and at the end of a file that was truncated between members.
        if self.last_block != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends without an end mark")
        end = self.position + _MAX_PADDING_BYTES
        while self._pull(_CHUNK_BYTES):
            if self.position > end:
                raise tarfile.ReadError("it continues after its end mark")

    def _pull(self, size: int) -> bytes:
        data = self.source.read(size)
        self.position += len(data)
        self.budget.spend(len(data))
        return data
