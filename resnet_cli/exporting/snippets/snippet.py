"""Writes the program that uses an exported file, in the language asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.preprocess import MAX_ASPECT, Preprocess

#: Language -> the name under which its usage line and comments know the program.
SCRIPTS: Mapping[str, str] = {
    "python": "classify.py",
    "js": "classify.mjs",
    "cpp": "classify.cpp",
    "rust": "src/main.rs",
    "java": "Classify.java",
    "csharp": "Program.cs",
    "kotlin": "MainActivity.kt",
    "swift": "main.swift",
}
#: Columns that a list of class names may take.
_WIDTH = 100
#: How a character is written that cannot be written as it is.
_ESCAPES: Mapping[str, Callable[[str], str]] = {
    "python": lambda one: ascii(one)[1:-1],
    # Its bytes, in three octal digits: a hexadecimal escape would take the letters that follow it.
    "cpp": lambda one: "".join(f"\\{byte:03o}" for byte in one.encode()),
    "rust": lambda one: f"\\u{{{ord(one):x}}}",
    "swift": lambda one: f"\\u{{{ord(one):x}}}",
}
#: The characters that have short escapes in every language.
_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def snippet(language: str, kind: str, metadata: ExportMetadata, path: Path) -> str:
    """The program: an image's path in, labels and probabilities out.

    Args:
        language: A language that :data:`~resnet_cli.config.snippets.SNIPPETS` lists for this kind of file.
        kind: The key of the file in it.
        metadata: What the file says about itself.
        path: The file or folder, as the program opens it.
    """
    preprocess = Preprocess.from_dict(dict(metadata.preprocess))
    return (
        _environment(language)
        .get_template(f"{language}/{kind}.j2")
        .render(
            script=SCRIPTS[language],
            file=path.as_posix(),
            name=path.name,
            classes=metadata.classes,
            thresholds=metadata.thresholds,
            most_novel=metadata.most_novel,
            takes_image=metadata.input_kind == "picture",
            takes_tensor=metadata.input_kind == "tensor",
            side=preprocess.crop_size,
            resize=preprocess.resize_size,
            fit=preprocess.fit,
            aspect=MAX_ASPECT,
            interpolation=preprocess.interpolation,
            bit_depth=preprocess.bit_depth,
            mean=preprocess.mean,
            std=preprocess.std,
            mean_color=preprocess.mean_color,
        )
    )


@functools.cache
def _environment(language: str) -> Environment:
    made = Environment(
        loader=PackageLoader("resnet_cli", "exporting/snippets/templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["text"] = functools.partial(literal, language=language)
    made.filters["listed"] = lambda values: _wrapped([literal(value, language=language) for value in values])
    made.filters["numbers"] = lambda values: _wrapped([repr(value) for value in values])
    return made


def literal(text: str, *, language: str) -> str:
    """A text as a literal of a programming language, in double quotes.

    Args:
        text: Any text, such as a class name or a path.
        language: A key of :data:`SCRIPTS`.
    """
    escape = _ESCAPES.get(language, _utf16)
    short = _SHORT | ({"$": "\\$"} if language == "kotlin" else {})
    # javac reads a source in the encoding of the machine, unless told otherwise.
    is_plain = str.isascii if language == "java" else str.isprintable
    # Lone surrogates, which file names can contain, are no characters to a compiler.
    known = text.encode("utf-8", "replace").decode("utf-8")
    return (
        '"'
        + "".join(short.get(one) or (one if is_plain(one) and one.isprintable() else escape(one)) for one in known)
        + '"'
    )


def _utf16(character: str) -> str:
    """A character as escapes of JavaScript, Java, Kotlin and C#, whose characters are UTF-16 units."""
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _wrapped(items: Sequence[str]) -> str:
    """Items separated by commas, in as few indented lines as fit."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= _WIDTH:
            lines[-1] += f" {item},"
        else:
            lines.append(f"    {item},")
    return "\n".join(lines)
