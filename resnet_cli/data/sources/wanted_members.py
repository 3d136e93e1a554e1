"""Which members of an archive are of use."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.data.sources.annotation_files import is_annotation_name
from resnet_cli.data.sources.array_files import ARRAY_FORMATS
from resnet_cli.data.sources.cifar_files import is_cifar_file
from resnet_cli.data.sources.idx import is_idx_name
from resnet_cli.data.sources.saved_datasets import ARROW_EXTENSIONS
from resnet_cli.data.sources.table_formats import is_table_name
from resnet_cli.images import is_image_name

#: Extensions of files that hold many images, or the label of one.
_EXTENSIONS = frozenset({*ARRAY_FORMATS, *ARROW_EXTENSIONS, ".cls"})


def is_wanted_member(name: str) -> bool:
    """Whether a member of an archive is of use: an image, or a file that may label images or contain them."""
    path = Path(name)
    is_known = is_image_name(name) or is_table_name(path) or is_annotation_name(name)
    return is_known or path.suffix.lower() in _EXTENSIONS or is_idx_name(path.name) or is_cifar_file(path.name)
