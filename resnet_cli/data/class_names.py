"""Names of classes: which ones are spelled alike, and how they are written on a command line."""

from __future__ import annotations

import csv
import io
import re
import shlex
import unicodedata
from collections.abc import Sequence

#: What people write around a class name, or forget to.
_AROUND = " _\t\r\n\u00a0\ufeff\u200b'\"`()[]{}"
#: Accents of Latin letters; in other scripts such marks make other letters.
_ACCENTS = re.compile("(?<=[A-Za-z])[\u0300-\u036f]+")
#: Sign, whole part and decimals.
_NUMBER = re.compile(r"([-+]?)([0-9]+)(?:\.([0-9]*))?")
#: Separators between two words; those between two digits distinguish numbers, such as 1.5 and 15.
_BETWEEN = re.compile(r"(?<=[^\W_])(?:(?<![0-9])|(?![\W_]+[0-9]))[\s_.,'/-]+(?=[^\W_])")


def plain_name(name: str) -> str:
    """A class name without the differences in spelling that people hardly see.

    Case, accents and Unicode forms, spaces, dashes, underscores and dots between words, punctuation around the name,
    and the form of a number (``1``, ``1.0``, ``01``) do not count. Signs with a meaning do: ``-1``, ``A+``, ``C#``.
    """
    letters = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", name))).casefold()
    text = letters.strip(_AROUND).rstrip(".,;:") or name
    if number := _NUMBER.fullmatch(text):
        # Digits instead of a float, which holds no more than 15 of them: two long ids are two classes.
        sign, whole, decimals = number.groups()
        return f"{sign}{whole.lstrip('0') or '0'}.{(decimals or '').rstrip('0')}"
    return _BETWEEN.sub("", text)


def as_flag(names: Sequence[str]) -> str:
    """Class names as ``--classes`` takes them in a shell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return shlex.quote(text.getvalue())
