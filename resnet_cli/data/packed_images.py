"""Many images as arrays: about 50 bytes per image instead of 500, and objects that exist only while they are used."""

from __future__ import annotations

import abc
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Self, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from resnet_cli.data.packed_sources import PackedSources, Source
from resnet_cli.data.packed_text import Distinct, TextView

ImageT = TypeVar("ImageT")
KeyT = TypeVar("KeyT", bound=Hashable)
PackedT = TypeVar("PackedT", bound="PackedImages[Any, Any]")
Codes: TypeAlias = NDArray[np.int32]

_COLUMNS = ("kinds", "kind_of", "splits", "split_of", "groups", "group_of")
#: Images made at once while all are read.
_AT_ONCE = 1024


class Kind(NamedTuple, Generic[KeyT]):
    """What many images have in common; a class is its index or its name.

    Attributes:
        labels: The classes of the images.
        unknown: The classes for which it is unknown whether the images belong to them.
        max_pixels: Larger images are reported as unreadable.
    """

    labels: tuple[KeyT, ...]
    unknown: tuple[KeyT, ...] = ()
    max_pixels: int = 0


class Fields(NamedTuple, Generic[KeyT]):
    """The fields of one image; each subclass of the sequence makes its own kind of object from them."""

    name: str
    source: Source
    kind: Kind[KeyT]
    split: str
    group: str


class PackedImages(Sequence[ImageT], abc.ABC, Generic[ImageT, KeyT]):
    """An immutable sequence of images that makes each image when it is asked for it.

    A selection shares the names and sources of the sequence that it was made from.

    Attributes:
        kinds: What images have in common, in any order; each is the kind of at least one image of the sequence that
            this one was selected from.
        kind_of: Index of the kind of each image, int32 [n].
        splits: Names of splits.
        split_of: Index of the split of each image, int32 [n].
        groups: Names of groups.
        group_of: Index of the group of each image, int32 [n].
    """

    __slots__ = ("_rows", "_stored", "group_of", "groups", "kind_of", "kinds", "split_of", "splits")

    def __init__(
        self,
        stored: PackedSources,
        rows: Codes,
        *,
        kinds: Sequence[Kind[KeyT]],
        kind_of: Codes,
        splits: Sequence[str],
        split_of: NDArray[np.int8],
        groups: Sequence[str],
        group_of: Codes,
    ) -> None:
        self._stored = stored
        self._rows = rows
        self.kinds = kinds
        self.kind_of = kind_of
        self.splits = splits
        self.split_of = split_of
        self.groups = groups
        self.group_of = group_of

    @staticmethod
    @abc.abstractmethod
    def _fields(image: Any) -> Fields[Any]:
        """What is stored of an image."""

    @staticmethod
    @abc.abstractmethod
    def _image(fields: Fields[Any]) -> Any:
        """The image of which the fields were stored."""

    @classmethod
    def of(cls, images: Iterable[ImageT]) -> Self:
        """Packs images; a packed sequence is returned as it is."""
        if isinstance(images, cls):
            return images
        builder: Builder[KeyT] = Builder()
        for image in images:
            builder.add(cls._fields(image))
        return builder.build(cls)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ImageT: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> ImageT | Self:
        if isinstance(index, slice):
            return self.take(np.arange(len(self), dtype=np.int32)[index])
        at = int(self._rows[index])
        name = self._stored.names.at(at)
        image: ImageT = self._image(
            Fields(
                name,
                self._stored.source(at, name),
                self.kinds[self.kind_of[index]],
                self.splits[self.split_of[index]],
                self.groups[self.group_of[index]],
            )
        )
        return image

    def __iter__(self) -> Iterator[ImageT]:
        for start in range(0, len(self), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            names = self.names[part]
            columns = (column[part].tolist() for column in (self._rows, self.kind_of, self.split_of, self.group_of))
            for name, at, kind, split, group in zip(names, *columns, strict=True):
                source = self._stored.source(at, name)
                yield self._image(Fields(name, source, self.kinds[kind], self.splits[split], self.groups[group]))

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int] | NDArray[np.bool_]) -> Self:
        """The images at some positions, in that order, or those that a mask selects."""
        chosen = np.asarray(rows)
        if not len(chosen):
            chosen = chosen.astype(np.int32)
        return self._changed(
            rows=self._rows[chosen],
            kind_of=self.kind_of[chosen],
            split_of=self.split_of[chosen],
            group_of=self.group_of[chosen],
        )

    def positions_of(self, part: Self) -> NDArray[np.int64]:
        """The position here of each image of a selection that was made from this sequence.

        Raises:
            ValueError: It was not made from this sequence.
        """
        places = np.full(len(self._stored.names), -1)
        places[self._rows] = np.arange(len(self))
        found = places[part._rows]
        if part._stored is not self._stored or (found < 0).any():
            raise ValueError("images of another sequence")
        return found

    def _changed(self, **changes: Any) -> Self:
        columns = {name: getattr(self, name) for name in _COLUMNS} | {"rows": self._rows}
        return type(self)(self._stored, **columns | changes)

    def to(self, cls: type[PackedT]) -> PackedT:
        """The same content as images of another class."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return cls(self._stored, self._rows, **columns)

    @property
    def names(self) -> TextView:
        """The name of each image, in order."""
        return self._stored.names.take(self._rows)

    @property
    def are_files(self) -> bool:
        """Whether every image is a file."""
        return self._stored.are_files(self._rows)

    def kind_counts(self, mask: NDArray[np.bool_] | None = None) -> list[tuple[Kind[KeyT], int]]:
        """The kinds that occur, each with its number of images.

        Args:
            mask: Which images count, bool [n]; None for all.
        """
        codes, counts = np.unique(self.kind_of if mask is None else self.kind_of[mask], return_counts=True)
        return [(self.kinds[code], num) for code, num in zip(codes.tolist(), counts.tolist(), strict=True)]

    def in_split(self, name: str) -> NDArray[np.bool_]:
        """Whether each image is in a split, bool [n]."""
        is_it = np.array([split == name for split in self.splits], dtype=bool)
        return is_it[self.split_of]

    def with_kinds(self, change: Callable[[Kind[KeyT]], Kind[Any]]) -> Self:
        """The same images with other labels, as a function of their labels."""
        packed = self.with_used_kinds()
        found: Distinct[Kind[Any]] = Distinct()
        codes = np.array([found.code(change(kind)) for kind in packed.kinds], dtype=np.int32)
        return self._changed(kinds=found.values, kind_of=codes[packed.kind_of])

    def with_used_kinds(self) -> Self:
        """The same images without the kinds that belonged to other images only."""
        used, kind_of = np.unique(self.kind_of, return_inverse=True)
        if len(used) == len(self.kinds):
            return self
        return self._changed(kinds=[self.kinds[code] for code in used.tolist()], kind_of=kind_of.astype(np.int32))

    def with_kinds_of(self, others: Self, positions: NDArray[np.integer[Any]]) -> Self:
        """The same images with the labels that other images have at some positions.

        Args:
            others: The images with the labels.
            positions: Where the image with each one's labels is in ``others``, int [n].
        """
        return self._changed(kinds=others.kinds, kind_of=others.kind_of[positions])

    def with_splits(self, splits: Sequence[str], split_of: NDArray[np.integer[Any]]) -> Self:
        """The same images in other splits: the index of each image's split."""
        return self._changed(splits=tuple(splits), split_of=np.asarray(split_of, dtype=np.int8))

    def with_groups(self, names: Iterable[str]) -> Self:
        """The same images in other groups: the name of each image's group."""
        found: Distinct[str] = Distinct()
        codes = np.fromiter((found.code(name) for name in names), dtype=np.int32, count=len(self))
        return self._changed(groups=found.values, group_of=codes)

    @property
    def has_groups(self) -> bool:
        """Whether an image has a group."""
        is_named = np.array([bool(group) for group in self.groups], dtype=bool)
        return bool(is_named[self.group_of].any()) if len(self) else False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Iterable[ImageT]) -> Self:
        return self.of([*self, *other])

    def __repr__(self) -> str:
        return f"<{len(self):,} images>"


class Builder(Generic[KeyT]):
    """Collects images for :class:`PackedImages`, one by one or folder by folder.

    Args:
        root: What the paths of most files begin with, before their names; empty for none.
    """

    def __init__(self, root: str = "") -> None:
        self._stored = PackedSources(root)
        self._kinds: Distinct[Kind[KeyT]] = Distinct()
        self._splits: Distinct[str] = Distinct()
        self._groups: Distinct[str] = Distinct()
        self._kind_of, self._split_of, self._group_of = array("i"), array("b"), array("i")

    def __len__(self) -> int:
        return len(self._kind_of)

    def add(self, image: Fields[KeyT]) -> None:
        """Adds one image."""
        self._stored.add(image.name, image.source)
        self._kind_of.append(self._kinds.code(image.kind))
        self._split_of.append(self._splits.code(image.split))
        self._group_of.append(self._groups.code(image.group))

    def add_files(self, folder: str, names: Sequence[str], kind: Kind[KeyT], split: str) -> None:
        """Adds files of one folder below the root that have the same labels.

        Args:
            folder: The folder below the root, with ``/`` at its end; empty for the root.
            names: Names of the files.
            kind: Their labels.
            split: Their split.
        """
        self._stored.add_files(folder, names)
        self._kind_of.extend([self._kinds.code(kind)] * len(names))
        self._split_of.extend([self._splits.code(split)] * len(names))
        self._group_of.extend([self._groups.code("")] * len(names))

    def __getitem__(self, at: int) -> Fields[KeyT]:
        """One of the images so far."""
        name = self._stored.names.at(at)
        return Fields(
            name,
            self._stored.source(at, name),
            self._kinds.values[self._kind_of[at]],
            self._splits.values[self._split_of[at]],
            self._groups.values[self._group_of[at]],
        )

    def set_kind(self, at: int, kind: Kind[KeyT]) -> None:
        """Gives an image other labels."""
        self._kind_of[at] = self._kinds.code(kind)

    def build(self, cls: type[PackedT]) -> PackedT:
        """The images; nothing may be added afterwards."""
        return cls(
            self._stored,
            np.arange(len(self), dtype=np.int32),
            kinds=self._kinds.values,
            kind_of=np.array(self._kind_of, dtype=np.int32),
            splits=self._splits.values,
            split_of=np.array(self._split_of, dtype=np.int8),
            groups=self._groups.values,
            group_of=np.array(self._group_of, dtype=np.int32),
        )
