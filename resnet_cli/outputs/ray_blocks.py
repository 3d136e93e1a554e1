"""Blocks of images predicted on a Ray cluster: a model in each worker, and parts written where they are computed.

Ray Data sends blocks to the workers, a few ahead of their work, and sends the block of a worker that dies to another.
Names of images are sent, and counts come back.

Source: https://docs.ray.io/en/latest/data/transforming-data.html, "Stateful transforms".
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from resnet_cli import errors
from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.web import WebItem, web_item
from resnet_cli.errors import DataError, DiskError, ResnetCliError, SetupError
from resnet_cli.model.rules import Rule
from resnet_cli.outputs.counts import Counts
from resnet_cli.outputs.ray_cluster import Device, divide, explained, load_ray
from resnet_cli.outputs.shards import JOB_FILE, Block, PartWriter
from resnet_cli.prediction import PredictedItem, Predictor, predict
from resnet_cli.version import __version__

#: Opens the model in a worker, which computes with this many threads.
Load: TypeAlias = Callable[[int], Predictor[Any]]


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker does with every block.

    Attributes:
        writer: Writes the predictions.
        topk: Number of classes per image.
        max_pixels: Larger images are unreadable.
        batch_size: Images per forward pass; None: the model's own number.
        rule: Which images are labeled "unknown"; None: none.
        all_probs: Whether predictions include the probabilities of all classes.
        offline: Never download anything.
        home: ID of the machine that the command runs on.
        witness: Path of an image that exists there; None if no image is in a file of its own.
        version: Version of this program.
    """

    writer: PartWriter
    topk: int
    max_pixels: int
    batch_size: int | None = None
    rule: Rule | None = None
    all_probs: bool = False
    offline: bool = False
    home: str = ""
    witness: str | None = None
    version: str = __version__


def predict_blocks(
    ray: Any, found: Iterable[Block], *, load: Load, task: Task, device: Device = "auto"
) -> Iterator[Counts]:
    """Predicts blocks in any order; the part of each is on disk when its counts arrive.

    Args:
        ray: The Ray module, connected to a cluster.
        found: The blocks; all are listed before the first is predicted, and Ray's object store holds their names.
        load: Opens the model in a worker; sent there.
        task: What workers do with each block.
        device: Devices to use; see :func:`~resnet_cli.outputs.ray_cluster.divide`.

    Raises:
        ResnetCliError: The error that a worker raised.
        SetupError: The cluster fails, or has no free resources.
    """
    refs, witness = [], None
    for block in found:
        witness = witness or _witness(block)
        refs.append(ray.put(_to_table(block)))
    if not refs:
        return
    workers = divide(ray, device, len(refs))
    task = dataclasses.replace(task, home=ray.get_runtime_context().get_node_id(), witness=witness)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    blocks = ray.data.from_arrow_refs(refs).map_batches(
        _Worker,
        fn_constructor_args=(ray.put(load), task, workers.num_cpus),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers.num),
        num_cpus=workers.num_cpus,
        num_gpus=workers.num_gpus,
    )
    try:
        for batch in blocks.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                yield _counts(row)
    except ray.exceptions.RayError as error:
        raise explained(ray, error) from error


class _Worker:
    """Predicts blocks one by one; created once per worker, and its model with its first block."""

    def __init__(self, load: Any, task: Task, num_threads: int) -> None:
        self._load = load
        self._task = task
        self._num_threads = num_threads
        self._turns = threading.Semaphore(num_threads)
        self._predictor: Predictor[Any] | None = None

    def __call__(self, batch: Any) -> Any:
        """One row of counts per row of names; this program's errors are sent as values, since Ray would wrap them."""
        import pyarrow

        return pyarrow.Table.from_pylist([self._predict_block(row) for row in batch.to_pylist()])

    def _predict_block(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            _check_machine(self._task)
            counts = self._task.writer.write(row["name"], self._predictions(row))
            return {**dataclasses.asdict(counts), "error": ""}
        except ResnetCliError as error:
            told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
            return {**dataclasses.asdict(Counts()), "error": json.dumps(told)}

    def _predictions(self, row: dict[str, Any]) -> Iterator[PredictedItem[Any]]:
        task = self._task
        # Only now, where it counts as an attempt: a model that does not fit into memory kills a worker too.
        if self._predictor is None:
            ray = load_ray()
            load = ray.get(self._load) if isinstance(self._load, ray.ObjectRef) else self._load
            self._predictor = load(self._num_threads)
        yield from predict(
            self._predictor,
            _to_items(row, task, self._turns),
            topk=task.topk,
            batch_size=task.batch_size,
            rule=task.rule,
            with_features=task.writer.features is not None,
            all_probs=task.all_probs,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _InTurn(Item):
    """An image that waits to be decoded until a thread of its worker is free; other cores have their own workers.

    Attributes:
        turns: Semaphore with one permit per thread of the worker.
    """

    turns: threading.Semaphore = dataclasses.field(default_factory=threading.Semaphore)

    def open(self, bit_depth: int | None = 16) -> Image.Image:
        """The upright RGB image; see :meth:`Item.open`.

        Raises:
            ImageError: The image cannot be read.
        """
        with self.turns:
            return Item.open(self, bit_depth)


def _to_table(block: Block) -> Any:
    """Names and locations of the images; only images inside a table are sent as bytes."""
    import pyarrow

    rows = []
    for item in block.items:
        if isinstance(item, WebItem) and item.image is not None:
            # The full address may contain a password, which stays in memory.
            rows.append((item.name, "web", item.image.url))
        elif isinstance(item.source, Path):
            # Workers run in another folder.
            rows.append((item.name, "file", os.path.abspath(item.source)))
        else:
            rows.append((item.name, "data", ""))
    # Consecutive paths have much in common: this leaves a tenth of their size.
    listing = zlib.compress(json.dumps(rows).encode())
    data = [item.source for item in block.items if isinstance(item.source, bytes) and not isinstance(item, WebItem)]
    return pyarrow.table(
        {
            "name": [block.name],
            "listing": pyarrow.array([listing], pyarrow.large_binary()),
            "data": pyarrow.array([data], pyarrow.large_list(pyarrow.large_binary())),
        }
    )


def _to_items(row: dict[str, Any], task: Task, turns: threading.Semaphore) -> Iterator[Item]:
    data = iter(row["data"])
    for name, kind, where in json.loads(zlib.decompress(row["listing"])):
        if kind == "web":
            # Without the semaphore: it waits for the network.
            yield web_item(where, max_pixels=task.max_pixels, offline=task.offline)
        else:
            source = next(data) if kind == "data" else Path(where)
            yield _InTurn(name, source, max_pixels=task.max_pixels, turns=turns)


def _witness(block: Block) -> str | None:
    """Path of an image that exists, for other machines to look for."""
    paths = (os.path.abspath(item.source) for item in block.items if isinstance(item.source, Path))
    return next((path for path in paths if os.path.exists(path)), None)


def _check_machine(task: Task) -> None:
    """Refuses a machine that does not see the same images and parts as the machine of the command."""
    context = load_ray().get_runtime_context()
    if task.version != __version__:
        raise SetupError(
            f"a machine of the cluster has resnet-cli {__version__}, and this one {task.version}",
            hint=f"install resnet-cli {task.version} with the extra ray there, as it is installed here",
        )
    if context.get_node_id() == task.home:
        return
    if task.witness is not None and not os.path.exists(task.witness):
        raise DataError(
            f"{task.witness}: a machine of the cluster cannot access it",
            hint="put the images where every machine finds them at the same path; what is downloaded or unpacked "
            "first goes into RESNET_CLI_CACHE",
        )
    if not (task.writer.folder / JOB_FILE).exists():
        raise DiskError(
            f"--out {task.writer.folder}: a machine of the cluster cannot access it",
            hint="name a folder that every machine finds at the same path",
        )


def _counts(row: dict[str, Any]) -> Counts:
    if row["error"]:
        told = json.loads(row["error"])
        kind = getattr(errors, told["kind"], ResnetCliError)
        raise kind(told["message"], hint=told["hint"])
    return Counts(**{field.name: row[field.name] for field in dataclasses.fields(Counts)})
