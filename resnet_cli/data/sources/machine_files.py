"""Files that hold many images or their labels, in the formats of programs rather than of people."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.data.sources.array_files import ARRAY_FORMATS
from resnet_cli.data.sources.arrays import read_arrays
from resnet_cli.data.sources.cifar_files import is_cifar_file, read_cifar_files
from resnet_cli.data.sources.idx import is_idx_name, read_idx
from resnet_cli.data.sources.reading import Reader
from resnet_cli.data.sources.saved_datasets import ARROW_EXTENSIONS, read_saved

#: The readers of these formats, from the most to the least definite.
MACHINE_READERS: tuple[Reader, ...] = (read_idx, read_cifar_files, read_arrays, read_saved)


def is_machine_file(path: Path) -> bool:
    """Whether a file has a name of these formats, so that it is kept from an archive."""
    is_container = path.suffix.lower() in (*ARRAY_FORMATS, *ARROW_EXTENSIONS)
    return is_container or is_idx_name(path.name) or is_cifar_file(path.name)
