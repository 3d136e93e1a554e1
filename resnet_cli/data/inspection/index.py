"""Records of earlier scans of image files: one SQLite file in the cache, with path, size and times as keys.

It is only a cache: if anything is wrong with it, images are scanned again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_cli.errors import DiskError
from resnet_cli.images import decoder_version, special_decoder
from resnet_cli.system.caches import warn_unwritable
from resnet_cli.system.paths import cache_dir, make_dir

if TYPE_CHECKING:
    from typing import Self

#: Version of the records; raised when the same file would give a different one.
INDEX_VERSION = 5
#: Number of rows that are kept, about 1 GB; the oldest are deleted.
MAX_ROWS = 2_000_000
#: A file that changed this shortly before the scan may change again within one clock tick, unnoticed.
#: Source: git's "racy" index entries, Documentation/technical/racy-git.txt; Linux stamps files with the tick's time.
RACY_NS = 50_000_000
#: Temporary errors (another process, the disk, permissions). After any other error the file is deleted.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
#: Paths of one query. Source: https://sqlite.org/limits.html, at most 999 parameters before version 3.32.
_LOOKED_UP = 512
#: Errors of a file or folder that cannot be written.
_UNWRITABLE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY})
#: Seconds without use after which an index of another version or decoder is deleted.
STALE_S = 30 * 24 * 3600


class ScannedImage(NamedTuple):
    """The record of one scanned image.

    Attributes:
        sha256: SHA-256 of the file's bytes, or of the pixels and their shape for a data set in memory.
        num_bytes: Length of the file, or of the pixels.
        width: Width of the upright image in pixels; 0 if it cannot be read.
        height: Height of the upright image in pixels; 0 if it cannot be read.
        format: ``JPEG``, ``PNG``, ...; empty for pixels.
        mode: Pillow's mode of the pixels in the file.
        orientation: Orientation in the EXIF block, 1 (upright) to 8.
        transparent: Whether the file has transparency (1 for a record from the index).
        signature: Signature for near duplicates; empty if the image cannot be read.
        darkest: Level, of 255, that 1 % of the pixels are below in the darkest channel; 0 if it was not measured.
        lightest: Level that 1 % of the pixels are above in the lightest channel; 255 if it was not measured.
        contrast: Range of 98 % of the pixels in the channel with the largest; 255 if it was not measured.
        sharpness: Sharpness of the sharpest edges; 0 if it was not measured.
        error: Reason why it cannot be read; empty if it can.
        bit_depth: Bits that the values of a 16-bit file need: 8, 10, 12, 14 or 16; 0 for all other files.
        pixels: Hash of the upright image's size and pixels, however its file stores them; empty if it cannot be read.
    """

    sha256: bytes
    num_bytes: int
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    orientation: int = 1
    transparent: bool = False
    signature: bytes = b""
    darkest: int = 0
    lightest: int = 255
    contrast: int = 255
    sharpness: float = 0.0
    error: str = ""
    bit_depth: int = 0
    pixels: bytes = b""


_COLUMNS = ("checksum", "path", "state", *ScannedImage._fields)


class Stamp(NamedTuple):
    """The state of a file when it was scanned.

    Attributes:
        path: Absolute path, as bytes of the file system.
        state: Size, inode, modification and change time, the pixel limit, and the version of the format's library if it
            has one; a different state means a new scan.
        is_racy: Whether the file changed so recently that the state may not reveal the next change.
    """

    path: bytes
    state: str
    is_racy: bool


def stamp_file(path: Path, max_pixels: int) -> Stamp | None:
    """The current state of a file; None if it is not available."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    # Formats with a library of their own: with another version of it, or without it, the file is read again.
    library = special_decoder(path.name)
    state = f"{about.st_size} {about.st_ino} {about.st_mtime_ns} {about.st_ctime_ns} {max_pixels} {library}".rstrip()
    is_racy = time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) < RACY_NS
    return Stamp(os.fsencode(os.path.abspath(path)), state, is_racy)


class Index:
    """The records on disk; use it as a context manager. Errors of its file are never raised."""

    def __init__(self) -> None:
        version = hashlib.sha256(f"{INDEX_VERSION} {decoder_version()}".encode()).hexdigest()[:12]
        self.path = cache_dir() / f"pictures-{version}.sqlite"
        self._connection: sqlite3.Connection | None = None
        self._is_read_only = False

    def __enter__(self) -> Self:
        with self._forgiving(), self._read_only_at_least():
            make_dir(self.path.parent)
            self._connection = sqlite3.connect(self.path, timeout=5)
            # A crash may lose the last rows, but never the file.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS pictures ({', '.join(_COLUMNS)}, PRIMARY KEY (path))")
            self._drop_stale()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def load(self, stamps: Sequence[Stamp | None]) -> dict[bytes, ScannedImage]:
        """The records of files that have not changed: path -> image."""
        wanted = {stamp.path: stamp.state for stamp in stamps if stamp is not None}
        found: dict[bytes, ScannedImage] = {}
        with self._forgiving():
            for checksum, *row in self._rows(list(wanted)):
                if wanted.get(row[0]) == row[1] and checksum == _checksum(row):
                    found[row[0]] = ScannedImage(*row[2:])
        return found

    def store(self, rows: Iterable[tuple[Stamp, ScannedImage]]) -> None:
        """Adds records, except those of files that may be changing right now."""
        values = [
            # As SQLite returns it: True as 1.
            [stamp.path, stamp.state, *(int(field) if isinstance(field, bool) else field for field in image)]
            for stamp, image in rows
            if not stamp.is_racy
        ]
        with self._forgiving():
            if self._connection is not None and values and not self._is_read_only:
                with self._connection:
                    columns, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
                    self._connection.executemany(
                        f"INSERT OR REPLACE INTO pictures ({columns}) VALUES ({marks})",
                        ([_checksum(row), *row] for row in values),
                    )
                    self._connection.execute(
                        "DELETE FROM pictures WHERE rowid <= (SELECT max(rowid) FROM pictures) - ?", (MAX_ROWS,)
                    )

    def _rows(self, paths: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        """The rows of the paths; those that only have their folder in common with them are not read."""
        if self._connection is None:
            return
        for start in range(0, len(paths), _LOOKED_UP):
            part = paths[start : start + _LOOKED_UP]
            marks = ", ".join("?" * len(part))
            yield from self._connection.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM pictures WHERE path IN ({marks})", part
            )

    @contextlib.contextmanager
    def _read_only_at_least(self) -> Iterator[None]:
        """If the block cannot open the file for writing, it is opened for reading, where it exists."""
        try:
            yield
        except (DiskError, sqlite3.OperationalError) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN) & 0xFF
            if code not in _UNWRITABLE or self.path.is_dir():
                raise
            self._close()
            warn_unwritable(self.path.parent, error)
            self._is_read_only = True
            if self.path.exists():
                # Immutable: otherwise SQLite would create files beside it. Nobody else can write it here either.
                self._connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?immutable=1", uri=True)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._close()
            # The low byte is the error code, the rest its details.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                warn_unwritable(self.path.parent, error)
            elif code not in _PASSING:
                _delete(self.path)
        except (DiskError, OSError, ValueError):
            # ValueError: text that is not UTF-8.
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _drop_stale(self) -> None:
        for path in self.path.parent.glob("pictures-*.sqlite"):
            with contextlib.suppress(OSError):
                if path != self.path and time.time() - path.stat().st_mtime > STALE_S:
                    _delete(path)


def _checksum(row: Sequence[object]) -> int:
    """Checksum that reveals bytes changed on the disk, which SQLite does not notice."""
    return zlib.crc32(repr(row).encode())


def _delete(path: Path) -> None:
    # A log that outlives its database would be applied to the next one.
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            os.unlink(f"{path}{suffix}")
