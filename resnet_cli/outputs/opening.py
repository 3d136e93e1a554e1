"""All outputs of one ``predict``: checked before a model is opened, then written to as one."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resnet_cli.errors import ConfigError, DiskError
from resnet_cli.outputs.prediction_files import FLUSH_EVERY_S, Write, growing_file, parquet_file
from resnet_cli.text import counted

if TYPE_CHECKING:
    from resnet_cli.config.predict import PredictConfig
    from resnet_cli.outputs.schema import Layout
    from resnet_cli.prediction import PredictedItem, Predictor


def check_outputs(config: PredictConfig) -> None:
    """Refuses files that exist already, before a model is opened.

    Raises:
        ConfigError: A file exists already, or something else than a folder has a folder's name.
        DiskError: The parent folder of a file does not exist.
    """
    check_parents(config)
    if config.output is not None and not config.resume and os.path.lexists(config.output):
        way_out = "choose another name, or remove it first"
        raise ConfigError(
            f"--out {config.output}: exists already",
            hint=way_out if config.format == "parquet" else f"continue it: --resume; or {way_out}",
        )
    if config.embeddings is not None:
        from resnet_cli.outputs.embeddings import check_embeddings_path

        check_embeddings_path(config.embeddings)
    folders = {"--sort-into": config.sort_into, "--annotate": config.annotate, "--explain": config.explain}
    for flag, folder in folders.items():
        if folder is not None and os.path.lexists(folder) and not folder.is_dir():
            raise ConfigError(f"{flag} {folder}: not a folder", hint="choose another name")


def check_parents(config: PredictConfig) -> None:
    """Refuses outputs whose parent folder does not exist.

    Raises:
        DiskError: One of them does not exist.
    """
    for flag, path in (("--out", config.output), ("--embeddings", config.embeddings)):
        if path is not None and not path.parent.is_dir():
            raise DiskError(
                f"{flag} {path}: there is no folder {path.parent}", hint=f"mkdir -p {shlex.quote(str(path.parent))}"
            )


@contextlib.contextmanager
def open_outputs(
    config: PredictConfig, predictor: Predictor[Any], *, made_by: str, layout: Layout, num_bytes: int = 0
) -> Iterator[Write]:
    """Opens every output but stdout as one; files are finished when the block ends without an error.

    Args:
        config: Names the outputs.
        predictor: The model that makes the predictions.
        made_by: What identifies the model and its settings in the rows of files.
        layout: The columns of files.
        num_bytes: Size of the finished rows of ``--out``, which are kept; 0 for a new file.

    Yields:
        Writes one predicted image to all of them.

    Raises:
        DiskError: Something cannot be written.
        ConfigError: The model gives no heat maps for ``--explain``.
    """
    writers: list[Write] = []
    with contextlib.ExitStack() as stack:
        writers += _folders(config, predictor)
        if config.embeddings is not None:
            writers.append(stack.enter_context(_embeddings(config, predictor)))
        # Last: an image that has its row counts as finished for --resume.
        if config.output is not None:
            kind = config.format
            if kind == "parquet":
                writers.append(stack.enter_context(parquet_file(config.output, made_by, layout)))
            else:
                assert kind is not None
                every_s = 0 if config.watch else FLUSH_EVERY_S
                growing = growing_file(
                    config.output, kind, made_by, layout=layout, num_bytes=num_bytes, flush_every_s=every_s
                )
                writers.append(stack.enter_context(growing))

        def write(predicted: PredictedItem[Any]) -> None:
            for writer in writers:
                writer(predicted)

        yield write


@contextlib.contextmanager
def say_how_to_continue(config: PredictConfig, made_by: str, layout: Layout) -> Iterator[None]:
    """On a full disk, says what is kept and how to continue.

    Args:
        config: Names the outputs.
        made_by: What identifies the model and its settings in the rows of ``--out``.
        layout: The columns of ``--out``.

    Raises:
        DiskError: The block raised one; the message is longer.
    """
    try:
        yield
    except DiskError as error:
        message, hint = error.message, error.hint
        if config.output is not None and config.format in ("csv", "json") and config.output.exists():
            from resnet_cli.outputs.resume import read_done

            num = read_done(config.output, config.format, made_by, layout).num
            message += f"; {config.output} has the predictions for {counted(num, 'image')}"
            again = "run the same command with --resume"
            if config.embeddings is not None:
                again = f"remove {config.output} and run the same command again"
            hint = f"free some space, then {again}"
        elif config.output is not None:
            hint = "free some space, then run the same command again (a .csv or .jsonl file could be resumed)"
        elif any((config.sort_into, config.annotate, config.explain)):
            hint = "free some space, then run the same command again: it keeps the files that are complete"
        raise DiskError(message, hint=hint) from error


def _embeddings(config: PredictConfig, predictor: Predictor[Any]) -> contextlib.AbstractContextManager[Write]:
    import numpy as np

    from resnet_cli.model.output import NUM_FEATURES
    from resnet_cli.outputs.embeddings import embeddings_file

    assert config.embeddings is not None
    # float16 keeps all digits of a bfloat16 pass; those of int8 are float32.
    dtype = np.float32 if predictor.precision in {"fp32", "int8"} else np.float16
    return embeddings_file(config.embeddings, NUM_FEATURES, dtype)


def _folders(config: PredictConfig, predictor: Predictor[Any]) -> Iterator[Write]:
    if config.sort_into is not None:
        from resnet_cli.outputs.sorting import sort_into

        yield sort_into(
            config.sort_into,
            predictor.classes,
            task=predictor.task,
            abstains=config.has_rule,
            link=config.link,
        )
    if config.annotate is not None:
        from resnet_cli.outputs.annotated import annotate_into

        yield annotate_into(config.annotate, bit_depth=predictor.preprocess.bit_depth)
    if config.explain is not None:
        from resnet_cli.outputs.annotated import explain_into

        yield explain_into(config.explain, predictor)
