"""Standard streams that cannot be written: full, closed, or without a reader.

What is printed on stdout is the result: if the disk is full, the command ends with exit code 6, and if the reader has
closed the pipe (``head``), it ends quietly with 141, as other programs do. What is printed on stderr accompanies it: if
that cannot be written, the work continues.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

from resnet_cli.errors import DiskError

#: 128 + SIGPIPE: what a shell reports for ``yes | head -1``.
EXIT_CLOSED_PIPE = 141


def prepare_streams() -> None:
    """Guards stdout and stderr; stdout shows file names exactly as they were read, and is UTF-8 if it is piped."""
    _reopen_closed()
    sys.stdout = _guarded(sys.stdout, _Result)
    sys.stderr = _guarded(sys.stderr, _Accompanying)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="surrogateescape")


def flush_stdout() -> None:
    """Writes what is still buffered; at the interpreter's exit, a failure would be a line without a cause and code 120.

    Raises:
        DiskError: It cannot be written.
        SystemExit: Nobody reads it any more.
    """
    sys.stdout.flush()


class _Stream(io.RawIOBase):
    """Passes bytes on until a write fails; everything after that is dropped.

    Args:
        stream: The stream as Python has opened it.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__()
        # It would close the raw stream when it is deleted. With PYTHONUNBUFFERED, its buffer is the raw stream.
        self._stream = stream
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)
        self._has_failed = False

    def write(self, data: Any) -> int:
        """Writes as much as the system takes."""
        if not self._has_failed:
            try:
                return self._write(data)
            except OSError as error:
                self._has_failed = True
                self._fail(error)
        return memoryview(data).nbytes

    def _write(self, data: Any) -> int:
        # None: the process at the other end of a pipe or terminal has made it non-blocking, and it is full for now.
        while (num := self._raw.write(data)) is None:
            import select

            select.select([], [self._raw], [])
        return int(num)

    def _fail(self, error: OSError) -> None:
        raise NotImplementedError

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())


class _Result(_Stream):
    def _fail(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise SystemExit(EXIT_CLOSED_PIPE) from None
        is_closed = error.errno == errno.EBADF
        raise DiskError(
            f"cannot write to standard output: {'it is closed' if is_closed else error.strerror or error}",
            hint="send it to a file" if is_closed else "free some space, or send the output to another file",
        ) from error


class _Accompanying(_Stream):
    def _fail(self, error: OSError) -> None:
        pass


def _guarded(stream: TextIO, kind: type[_Stream]) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(stream)),
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _reopen_closed() -> None:
    """Opens the null device in place of streams that the parent has closed (``>&-``).

    Otherwise the next file that is opened gets the number of the stream, and everything that a library prints goes into
    it. Stdout is opened for reading: writing to it is still an error.
    """
    streams = [("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)]
    for number, (name, mode, flags) in enumerate(streams):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, flags), True)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))
