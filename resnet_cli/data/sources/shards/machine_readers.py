"""The readers of formats that programs write, rather than people."""

from __future__ import annotations

from resnet_cli.data.sources.arrays.cifar_files import read_cifar_files
from resnet_cli.data.sources.arrays.idx import read_idx
from resnet_cli.data.sources.arrays.pixel_tables import read_pixel_tables
from resnet_cli.data.sources.arrays.reader import read_arrays
from resnet_cli.data.sources.reading import Reader
from resnet_cli.data.sources.shards.reader import read_shards
from resnet_cli.data.sources.shards.saved_datasets import read_saved

#: From the most to the least definite.
MACHINE_READERS: tuple[Reader, ...] = (
    read_idx,
    read_cifar_files,
    read_arrays,
    read_saved,
    read_pixel_tables,
    read_shards,
)
