"""The languages in which ``export --snippet`` writes a program for a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from resnet_cli.config.base import Rule

Language: TypeAlias = Literal["python", "js", "kotlin", "swift", "cpp", "rust", "java", "csharp"]
#: The value of ``--format`` -> the languages of its programs; ``tensor`` stands for ONNX files with ``--input tensor``.
SNIPPETS: Mapping[str, tuple[Language, ...]] = {
    "onnx": ("python", "js", "kotlin", "swift", "cpp", "java", "csharp"),
    "tensor": ("python", "rust"),
    "pt2": ("python",),
    "safetensors": ("python",),
    "openvino": ("python", "cpp"),
    "executorch": ("python", "kotlin", "swift"),
    "litert": ("python", "kotlin"),
    "coreml": ("swift",),
    "ncnn": ("python", "cpp"),
    "mnn": ("python", "cpp"),
}


def snippet_kind(file_format: str, file_input: str) -> str:
    """The key of :data:`SNIPPETS` for the values of ``--format`` and ``--input``."""
    return "tensor" if (file_format, file_input) == ("onnx", "tensor") else file_format


def snippet_rules() -> tuple[Rule, ...]:
    """Rules that refuse a language without a program for the file, before anything is computed."""
    rules = []
    for kind, languages in SNIPPETS.items():
        where = "an ONNX file with --input tensor" if kind == "tensor" else f"--format {kind}"
        hint = f"choose {' or '.join(languages)}"
        if kind == "onnx":
            hint += "; a program in rust resizes the image itself: add --input tensor"
        rules.append(Rule(("snippet",), _has(kind), f"is not available for {where}", hint))
    hint = "remove --snippet: a web folder is a complete page"
    rules.append(Rule(("snippet",), _is_known, "is not available for this format", hint))
    return tuple(rules)


def _is_known(config: Any) -> bool:
    """Whether there are programs for files of the format at all."""
    return config.snippet is None or snippet_kind(config.format, config.input) in SNIPPETS


def _has(kind: str) -> Callable[[Any], bool]:
    """Checks that a config asks for a language of this kind of file, or is about another kind."""
    return lambda config: snippet_kind(config.format, config.input) != kind or config.snippet in (None, *SNIPPETS[kind])
