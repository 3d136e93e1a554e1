"""What ``resnet-cli predict`` was asked for, and which of its flags go together; nothing heavy is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from resnet_cli.errors import ConfigError
from resnet_cli.outputs.formats import FORMATS, Format, file_format

#: Who computes: this process, or the workers of a Ray cluster.
ENGINES = ("local", "ray")
#: Classes named for each image, and images named for each one that is asked about.
TOPK, TOPK_SIMILAR = 3, 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The flags that say where images come from and where answers go, as given."""

    images: list[str]
    files_from: str | None
    null: bool
    recursive: bool | None
    watch: str | None
    topk: int | None
    batch_size: int | None
    formats: list[Format]
    output: Path | None
    resume: bool
    embeddings: Path | None
    sort_into: Path | None
    link: bool
    annotate: Path | None
    explain: Path | None
    similar: list[str]
    among: list[str]
    quiet: bool
    engine: str
    ray_address: str | None

    @property
    def kind(self) -> Format | None:
        """The format of the answers, wherever they go; None for lines."""
        if self.engine == "ray":
            return next(iter(self.formats), "parquet")
        if self.output is not None:
            return file_format(self.output, next(iter(self.formats), None))
        return next(iter(self.formats), None)

    @property
    def writes_folders(self) -> bool:
        """Whether a file is written for each image."""
        return any((self.sort_into, self.annotate, self.explain))


def check(request: Request, rule_flags: Mapping[str, object], image_column: str | None) -> None:
    """Refuses what cannot be or has no effect, before anything is read.

    Args:
        request: As given.
        rule_flags: Flags that say when not to answer -> value, None or False where not given.
        image_column: As given.

    Raises:
        ConfigError: As said.
    """
    if len(request.formats) > 1:
        raise ConfigError(f"{' and '.join(f'--{kind}' for kind in request.formats)}: choose one")
    if request.engine not in ENGINES:
        raise ConfigError(f"--engine {request.engine}: is none", hint=f"use {' or '.join(ENGINES)}")
    if request.engine == "ray":
        _check_ray(request)
    elif request.ray_address is not None:
        raise _no_effect("--ray-address", "it says where --engine ray computes")
    _check_files(request)
    if request.similar or request.among:
        _check_similar(request, rule_flags)
        return
    if not (request.images or request.files_from or request.watch):
        raise ConfigError(
            "nothing to answer", hint="name files, folders or patterns; or --files-from LIST, --watch DIR, --help"
        )
    if request.null and not request.files_from:
        raise _no_effect("--null", "it says how the paths of --files-from end")
    if request.files_from == "-" and "-" in request.images:
        raise ConfigError("- and --files-from -: stdin can be only one of them")
    if image_column is not None and not request.images:
        raise _no_effect("--image-column", "no table is among the inputs")
    if request.recursive is not None and not (request.images or request.watch):
        raise _no_effect("--recursive", "no folder is among the inputs")
    _check_resume(request)


def _check_files(request: Request) -> None:
    if "parquet" in request.formats and request.output is None:
        raise ConfigError(
            "--parquet: is no text for a terminal or a pipe", hint="name a file: --output answers.parquet"
        )
    if request.output is not None and request.engine == "local":
        file_format(request.output, next(iter(request.formats), None))
    if request.link and request.sort_into is None:
        raise _no_effect("--link", "it says how --sort-into puts images there")


def _check_ray(request: Request) -> None:
    if request.output is None:
        raise ConfigError("--engine ray writes a folder of parts", hint="name one: --output DIR")
    for flag, path in (("--output", request.output), ("--embeddings", request.embeddings)):
        if path is not None and path.suffix.lower() in {*FORMATS, ".npy", ".safetensors"}:
            raise ConfigError(f"{flag} {path}: with --engine ray it is a folder of parts", hint=f"{flag} {path.stem}")
    if "csv" in request.formats:
        raise ConfigError("--csv: --engine ray writes Parquet, or JSON lines with --json", hint="leave --csv away")
    given = {
        "--watch": request.watch,
        "--sort-into": request.sort_into,
        "--link": request.link,
        "--annotate": request.annotate,
        "--explain": request.explain,
        "--similar": request.similar,
        "--among": request.among,
    }
    for flag, value in given.items():
        if value:
            raise ConfigError(f"{flag}: --engine ray writes answers and features alone", hint="leave one of them away")
    if request.resume:
        raise _no_effect("--resume", "--engine ray goes on with a folder that is there")
    if "-" in request.images:
        raise ConfigError("--engine ray: an image on stdin has no name to find it by", hint="give a file")
    if request.ray_address is not None and "://" in request.ray_address:
        raise ConfigError(
            f"--ray-address {request.ray_address}: the command must run on a machine of the cluster",
            hint="give host:port of its head, or auto",
        )


def _check_resume(request: Request) -> None:
    if not request.resume:
        return
    if request.output is None:
        raise _no_effect("--resume", "there is no --output file to go on with")
    if request.kind == "parquet":
        raise ConfigError(
            "--resume: a Parquet file is there whole or not at all", hint="use --output answers.jsonl or answers.csv"
        )
    if request.embeddings is not None:
        raise ConfigError(
            "--resume: a file of --embeddings is there whole or not at all", hint="leave one of them away"
        )
    if "-" in request.images:
        raise ConfigError("--resume: an image on stdin has no name to find it by", hint="give a file")


def _check_similar(request: Request, rule_flags: Mapping[str, object]) -> None:
    if not (request.similar and request.among):
        raise ConfigError("--similar and --among belong together", hint="predict --similar IMAGE --among DIR")
    given = {
        "IMAGES": request.images,
        "--files-from": request.files_from,
        "--null": request.null,
        "--watch": request.watch,
        "--batch-size": request.batch_size,
        "--output": request.output,
        "--resume": request.resume,
        "--embeddings": request.embeddings,
        "--sort-into": request.sort_into,
        "--annotate": request.annotate,
        "--explain": request.explain,
        **rule_flags,
    }
    for name, value in given.items():
        # A threshold of 0 is given too.
        if value is not None and value is not False and value != []:
            raise _no_effect(name, "--similar looks for images and answers none")


def _no_effect(flag: str, why: str) -> ConfigError:
    return ConfigError(f"{flag} has no effect: {why}", hint=f"leave {flag} away")
