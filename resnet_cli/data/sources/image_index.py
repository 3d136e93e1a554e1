"""The images of DATA by name, for references that are not paths from here: other machines' paths, bare names, ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from resnet_cli.images import is_image_name

#: Source: Label Studio's import, which puts eight hexadecimal digits before the name of an uploaded file.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
#: ``https://host/a.jpg``, ``s3://bucket/a.jpg``, ``azureml://.../a.jpg``; a Windows drive is not a scheme.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
#: Schemes whose paths write special characters as ``%20``.
_QUOTED = frozenset({"http", "https", "file"})


def reference_parts(reference: str) -> list[str]:
    r"""The folders and the name of a path of any machine: ``C:\photos\1.jpg``, ``s3://bucket/photos/1.jpg``."""
    scheme = _SCHEME.match(reference)
    if scheme:
        reference = reference[scheme.end() :]
        if scheme[1].lower() in _QUOTED:
            reference = unquote(re.split("[?#]", reference)[0], errors="surrogateescape")
    return [part for part in reference.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def is_web_address(reference: str) -> bool:
    """Whether a reference is an ``http://`` or ``https://`` URL."""
    return reference.lower().startswith(("http://", "https://"))


def _key(name: str) -> str:
    # macOS writes accents in another Unicode form than most tables.
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).casefold()


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_image_name(name) else name


class ImageIndex:
    """The images in and below a folder, by name without extension.

    Args:
        images: Paths below the folder, with ``/``.
    """

    def __init__(self, images: Iterable[str]) -> None:
        self._by_stem: dict[str, str | list[str]] = {}
        for image in images:
            # Every listed name is one of an image; asking again would take longer than everything else here.
            key = _key(image.rpartition("/")[2].rpartition(".")[0])
            earlier = self._by_stem.setdefault(key, image)
            if isinstance(earlier, list):
                earlier.append(image)
            elif earlier is not image:
                self._by_stem[key] = [earlier, image]

    def __len__(self) -> int:
        """Number of different names."""
        return len(self._by_stem)

    def find(self, reference: str) -> tuple[list[str], int]:
        """The images that a reference may denote: those with the longest common tail of folders.

        A reference with an image's extension denotes images with this extension, in any case; any other is a name
        without extension.

        Args:
            reference: A path of any machine, a name, or a name without its extension.

        Returns:
            The images, and the number of folders of the reference before the common tail.
        """
        parts = reference_parts(reference)
        if not parts:
            return [], 0
        *folders, last = parts
        found = self._named(last) or (self._named(_UPLOADED.sub("", last, count=1)) if _UPLOADED.match(last) else [])
        if not found:
            return [], 0
        common = [_num_common(image, folders) for image in found]
        longest = max(common)
        return [image for image, num in zip(found, common, strict=True) if num == longest], len(folders) - longest

    def _named(self, name: str) -> list[str]:
        entry = self._by_stem.get(_key(_stem(name)), [])
        found = [entry] if isinstance(entry, str) else entry
        if not is_image_name(name):
            same_case = [image for image in found if _stem(image.rpartition("/")[2]) == name]
            return same_case or found
        exact = [image for image in found if image.rpartition("/")[2] == name]
        return exact or [image for image in found if _key(image.rpartition("/")[2]) == _key(name)]


def _num_common(image: str, folders: Sequence[str]) -> int:
    common = 0
    for own, asked in zip(reversed(image.split("/")[:-1]), reversed(folders), strict=False):
        if own != asked and _key(own) != _key(asked):
            break
        common += 1
    return common
