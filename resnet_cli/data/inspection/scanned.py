"""The records of a scan, in arrays: about 90 bytes per image; signatures are kept beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.inspection.alignment import SIDE
from resnet_cli.data.inspection.compact import Compact, Groups, Positions
from resnet_cli.data.inspection.duplicates import SIGNATURE_BYTES
from resnet_cli.data.inspection.index import ScannedImage
from resnet_cli.data.inspection.row_table import RowTable

#: Records that are made at once when all of them are visited.
_BLOCK = 1024
_DIGEST_BYTES, _PIXELS_BYTES = 32, 8
#: One record. Texts are numbers of a table, since few of them differ; the lengths tell which hashes are absent.
_ROW = np.dtype(
    [
        ("sha256", f"V{_DIGEST_BYTES}"),
        ("pixels", f"V{_PIXELS_BYTES}"),
        ("look", "<u8"),
        ("num_bytes", "<i8"),
        ("sharpness", "<f8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("orientation", "<i4"),
        ("error", "<u4"),
        ("format", "<u2"),
        ("mode", "<u2"),
        ("sha256_length", "u1"),
        ("pixels_length", "u1"),
        ("is_signed", "?"),
        ("transparent", "?"),
        ("darkest", "u1"),
        ("lightest", "u1"),
        ("contrast", "u1"),
        ("bit_depth", "u1"),
    ]
)
#: The first 8 bytes of a record, which begins with the digest.
_HEAD_OF_ROW = np.dtype({"names": ["head"], "formats": ["<u8"], "offsets": [0], "itemsize": _ROW.itemsize})
_TEXTS = ("error", "format", "mode")


class ScannedImages(Compact[ScannedImage]):
    """The records of n images; an element is a :class:`ScannedImage`, made when it is asked for.

    Attributes:
        rows: One record per image, a structured array [n]; see the properties.
    """

    def __init__(self, num: int, *, signatures: bool) -> None:
        """Makes room for records.

        Args:
            num: Number of images, n.
            signatures: Whether signatures are kept; without them, that of every record is empty.
        """
        self.rows = np.zeros(num, _ROW)
        # Number of each text, and the texts in the order of their numbers: tables that parts of the images share.
        self._numbers: dict[str, dict[str, int]] = {name: {"": 0} for name in _TEXTS}
        self._texts: dict[str, list[str]] = {name: [""] for name in _TEXTS}
        self._signatures = RowTable(num, SIGNATURE_BYTES) if signatures else None
        self._signature_rows: Positions | None = None

    @classmethod
    def of(cls, images: Iterable[ScannedImage]) -> ScannedImages:
        """The given records."""
        if isinstance(images, ScannedImages):
            return images
        listed = list(images)
        made = cls(len(listed), signatures=any(image.signature for image in listed))
        for start in range(0, len(listed), _BLOCK):
            made.fill(start, listed[start : start + _BLOCK])
        return made

    def fill(self, start: int, images: Sequence[ScannedImage]) -> None:
        """Keeps the records of consecutive images, the first at position ``start``."""
        if not images:
            return
        part = self.rows[start : start + len(images)]
        columns = dict(zip(ScannedImage._fields, zip(*images, strict=True), strict=True))
        signatures = columns.pop("signature")
        part["is_signed"] = [len(one) == SIGNATURE_BYTES for one in signatures]
        data = b"".join(one if len(one) == SIGNATURE_BYTES else bytes(SIGNATURE_BYTES) for one in signatures)
        small = np.frombuffer(data, np.uint8).reshape(-1, SIGNATURE_BYTES)
        part["look"] = _look_bits(small)
        if self._signatures is not None:
            self._signatures.write(start, small)
        for name, length in (("sha256", _DIGEST_BYTES), ("pixels", _PIXELS_BYTES)):
            digests = columns.pop(name)
            part[name] = np.array(digests, f"S{length}").view(f"V{length}")
            part[f"{name}_length"] = list(map(len, digests))
        for name in _TEXTS:
            numbers = {text: self._number(name, text) for text in set(columns[name])}
            part[name] = [numbers[text] for text in columns.pop(name)]
        for name, values in columns.items():
            part[name] = values

    def put(self, positions: Positions | Sequence[int], images: ScannedImages) -> None:
        """Keeps the records of images at some positions, without their signatures."""
        rows = images.rows.copy()
        for name in _TEXTS:
            numbers = np.array([self._number(name, text) for text in images._texts[name]], _ROW[name])
            rows[name] = numbers[rows[name]]
        self.rows[np.asarray(positions, np.intp)] = rows

    def _number(self, name: str, text: str) -> int:
        number = self._numbers[name].setdefault(text, len(self._texts[name]))
        if number == len(self._texts[name]):
            self._texts[name].append(text)
        return number

    def take(self, positions: Positions | Sequence[int]) -> ScannedImages:
        """The records at some positions, in their order."""
        taken = ScannedImages(0, signatures=False)
        at = np.asarray(positions, np.intp)
        taken.rows, taken._numbers, taken._texts = self.rows[at], self._numbers, self._texts
        taken._signatures = self._signatures
        taken._signature_rows = at.astype(np.int32) if self._signature_rows is None else self._signature_rows[at]
        return taken

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ScannedImage: ...
    @overload
    def __getitem__(self, index: slice) -> ScannedImages: ...
    def __getitem__(self, index: int | slice) -> ScannedImage | ScannedImages:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        return self.at(range(len(self))[index])

    def at(self, index: int) -> ScannedImage:
        """The record of one image."""
        return self._records(slice(index, index + 1))[0]

    def __iter__(self) -> Iterator[ScannedImage]:
        for start in range(0, len(self), _BLOCK):
            yield from self._records(slice(start, start + _BLOCK))

    def _records(self, part: slice) -> list[ScannedImage]:
        rows = self.rows[part]
        signed = rows["is_signed"].tolist()
        small = [b""] * len(rows)
        if self._signatures is not None and any(signed):
            read = self.signatures[np.arange(*part.indices(len(self)))]
            small = [row.tobytes() if has else b"" for row, has in zip(read, signed, strict=True)]
        texts = self._texts
        return [
            ScannedImage(
                sha256=digest[:digest_length],
                num_bytes=num_bytes,
                width=width,
                height=height,
                format=texts["format"][of_format],
                mode=texts["mode"][mode],
                orientation=orientation,
                transparent=transparent,
                signature=signature,
                darkest=darkest,
                lightest=lightest,
                contrast=contrast,
                sharpness=sharpness,
                error=texts["error"][error],
                bit_depth=bit_depth,
                pixels=pixels[:pixels_length],
            )
            for (
                digest,
                pixels,
                _,
                num_bytes,
                sharpness,
                width,
                height,
                orientation,
                error,
                of_format,
                mode,
                digest_length,
                pixels_length,
                _,
                transparent,
                darkest,
                lightest,
                contrast,
                bit_depth,
            ), signature in zip(rows.tolist(), small, strict=True)
        ]

    @property
    def signatures(self) -> SignaturesAt:
        """The signatures by positions, uint8 [m x SIGNATURE_BYTES]; zeros for an image without one.

        Raises:
            ValueError: They were not kept.
        """
        if self._signatures is None:
            raise ValueError("a scan without signatures")
        return SignaturesAt(self._signatures, self._signature_rows, len(self))

    @property
    def digests(self) -> NDArray[np.uint8]:
        """``sha256`` of each image, uint8 [n x 32]; zeros where there is none."""
        return np.ascontiguousarray(self.rows["sha256"]).view(np.uint8).reshape(-1, _DIGEST_BYTES)

    @property
    def is_readable(self) -> NDArray[np.bool_]:
        """Whether each image can be read, bool [n]."""
        return np.asarray(self.rows["error"] == 0)

    def error(self, position: int) -> str:
        """Why an image cannot be read; empty if it can."""
        return self._texts["error"][int(self.rows["error"][position])]

    def errors(self) -> Iterator[tuple[int, str]]:
        """The position of each image that cannot be read, and the reason."""
        for position in np.flatnonzero(~self.is_readable).tolist():
            yield position, self.error(position)

    def has_mode(self, test: Any) -> NDArray[np.bool_]:
        """Whether Pillow's mode of each image passes a test, bool [n]."""
        of_text = np.array([test(mode) for mode in self._texts["mode"]], bool)
        return np.asarray(of_text[self.rows["mode"]])

    def copies(self) -> Groups:
        """Groups of readable images with the same bytes."""
        readable = np.flatnonzero(self.is_readable).astype(np.int32)
        # A quarter of each digest sorts them; all of it decides.
        heads = self.rows.view(_HEAD_OF_ROW)["head"][readable]
        return Groups.of_equal(heads, self._digests_at, readable)

    def _digests_at(self, positions: Positions) -> NDArray[np.uint64]:
        return np.ascontiguousarray(self.rows["sha256"][positions]).view("<u8").reshape(-1, _DIGEST_BYTES // 8)


class SignaturesAt:
    """The signatures of some of the images that were scanned."""

    def __init__(self, table: RowTable, rows: Positions | None, num: int) -> None:
        self._table, self._rows, self._num = table, rows, num

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, positions: slice | Positions) -> NDArray[np.uint8]:
        return self._table[positions if self._rows is None else self._rows[positions]]


def _look_bits(signatures: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A difference hash of the gray thumbnail that each signature begins with, uint64 [n]; 0 for one of zeros."""
    gray = signatures[:, : SIDE**2].reshape(-1, 8, 2, 8, 2)
    # Sums compare as means do.
    wide = gray[:, :, 0].astype(np.uint16) + gray[:, :, 1]
    small = wide[..., 0] + wide[..., 1]  # [n x 8 x 8]
    lighter = small > np.roll(small, 1, axis=2)
    return np.packbits(lighter.reshape(-1, 64), axis=1).view(">u8").reshape(-1).astype(np.uint64)
