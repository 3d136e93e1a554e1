"""Annotation formats in XML: CVAT for images, and Pascal VOC's boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from resnet_cli.data.sources.annotations.items import Annotation, labeled, split_text
from resnet_cli.errors import DataError

#: Larger files are not read.
MAX_XML_BYTES = 1_000_000_000
_CHUNK_BYTES = 1_000_000
CVAT = "CVAT annotations"
VOC = "Pascal VOC annotations"


@dataclass
class _Parsed:
    """What was seen of a document so far."""

    root: str = ""
    depth: int = 0
    annotations: list[Annotation] = field(default_factory=list)
    image: str | None = None
    split: str = ""
    tags: list[str] = field(default_factory=list)
    num_shapes: int = 0
    num_objects: int = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth == 1:
            self.root = name
        elif self.depth == 2 and name == "image":
            self.image = attributes.get("name", "")
            self.split, self.tags, self.num_shapes = split_text(attributes.get("subset")), [], 0
        elif self.depth == 3 and self.image is not None:
            if name == "tag":
                self.tags.append(attributes.get("label", ""))
            else:
                self.num_shapes += 1
        elif self.depth == 2 and name in ("object", "track"):
            self.num_objects += 1

    def end(self, name: str) -> None:
        if self.depth == 2 and name == "image" and self.image is not None:
            self.annotations.append(Annotation(self.image, labeled(self.tags), self.split, self.num_shapes))
            self.image = None
        self.depth -= 1


def read_xml(path: Path) -> tuple[str, list[Annotation]] | None:
    """Reads an XML file of CVAT or Pascal VOC.

    Entities are refused, so that a small file cannot expand or read other files.

    Returns:
        The name of the format and what it says about each image; None if it is in neither format. Pascal VOC describes
        boxes, which are counted only.

    Raises:
        DataError: The file cannot be read, is damaged or too large, or declares entities.

    Source: docs.cvat.ai, format CVAT for image; host.robots.ox.ac.uk/pascal/VOC.
    """
    parsed = _Parsed()
    parser = expat.ParserCreate()
    parser.StartElementHandler = parsed.start
    parser.EndElementHandler = parsed.end

    def refuse_entity(*_: object) -> None:
        raise DataError(f"{path}: declares XML entities, which are not read", hint="export it again without them")

    parser.EntityDeclHandler = refuse_entity
    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise DataError(f"{path}: larger than {MAX_XML_BYTES / 1e9:.0f} GB", hint="split the export")
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                parser.Parse(chunk, False)
                if parsed.root not in ("", "annotations", "annotation"):
                    return None
            parser.Parse(b"", True)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{path}: not XML: {error}") from error
    if parsed.root == "annotations" and (parsed.annotations or parsed.num_objects):
        return CVAT, parsed.annotations or [Annotation("", num_shapes=parsed.num_objects)]
    if parsed.root == "annotation" and parsed.num_objects:
        return VOC, [Annotation("", num_shapes=parsed.num_objects)]
    return None
