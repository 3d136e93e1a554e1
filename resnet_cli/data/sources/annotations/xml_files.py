"""Annotation formats in XML: CVAT for images, and Pascal VOC's boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from resnet_cli.data.sources.annotations.items import Annotation, class_names_of, labeled, split_text
from resnet_cli.errors import DataError

#: Larger files are not read.
MAX_XML_BYTES = 1_000_000_000
_CHUNK_BYTES = 1_000_000
#: Characters; names of files and classes are shorter.
_MAX_TEXT = 4096
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
    shapes: list[str] = field(default_factory=list)
    num_objects: int = 0
    # Pascal VOC: the text of the innermost element, the fields of the current object, and whether each is difficult.
    text: str = ""
    file_name: str = ""
    name: str = ""
    is_difficult: bool = False
    objects: list[tuple[str, bool]] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.text = ""
        if self.depth == 1:
            self.root = name
        elif self.depth == 2 and name == "image":
            self.image = attributes.get("name", "")
            self.split, self.tags, self.shapes = split_text(attributes.get("subset")), [], []
        elif self.depth == 3 and self.image is not None:
            if name == "tag":
                self.tags.append(attributes.get("label", ""))
            else:
                self.shapes.append(attributes.get("label", ""))
        elif self.depth == 2 and name in ("object", "track"):
            self.num_objects += 1
            self.name, self.is_difficult = "", False

    def characters(self, text: str) -> None:
        if self.root == "annotation" and len(self.text) < _MAX_TEXT:
            self.text += text

    def end(self, name: str) -> None:
        if self.depth == 2 and name == "image" and self.image is not None:
            shapes = class_names_of(self.shapes)
            found = Annotation(self.image, labeled(self.tags), self.split, len(self.shapes), objects=shapes)
            self.annotations.append(found)
            self.image = None
        elif self.depth == 2 and name == "filename":
            self.file_name = self.text.strip()
        elif self.depth == 2 and name == "object":
            self.objects.append((self.name, self.is_difficult))
        elif self.depth == 3 and name == "name":
            self.name = self.text.strip()
        elif self.depth == 3 and name == "difficult":
            self.is_difficult = self.text.strip() == "1"
        self.depth -= 1

    def voc(self, stem: str) -> Annotation:
        """The image of a file of Pascal VOC; of a class with difficult objects only, it is not known."""
        sure = class_names_of(name for name, is_difficult in self.objects if not is_difficult)
        unknown = tuple(name for name in class_names_of(name for name, _ in self.objects) if name not in sure)
        # The file is called like its image, also where the image was renamed after it was annotated.
        named = PurePosixPath(self.file_name.replace("\\", "/"))
        image = self.file_name if named.stem == stem else stem + named.suffix
        return Annotation(image, num_shapes=self.num_objects, objects=sure, unknown=unknown, empty="negative")


def read_xml(path: Path) -> tuple[str, list[Annotation]] | None:
    """Reads an XML file of CVAT or Pascal VOC.

    Entities are refused, so that a small file cannot expand or read other files.

    Returns:
        The name of the format and what it says about each image; None if it is in neither format. Pascal VOC describes
        the objects of one image.

    Raises:
        DataError: The file cannot be read, is damaged or too large, or declares entities.

    Source: docs.cvat.ai, format CVAT for image; host.robots.ox.ac.uk/pascal/VOC, whose classification task leaves out
    images that show only difficult objects of a class.
    """
    parsed = _Parsed()
    parser = expat.ParserCreate()
    parser.StartElementHandler = parsed.start
    parser.EndElementHandler = parsed.end
    parser.CharacterDataHandler = parsed.characters

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
    if parsed.root == "annotation" and (parsed.num_objects or parsed.file_name):
        return VOC, [parsed.voc(path.stem)]
    return None
