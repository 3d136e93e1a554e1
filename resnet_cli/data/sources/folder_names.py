"""Names of folders that say where images are stored, and not what they show."""

from __future__ import annotations

from resnet_cli.data.sources.split_names import split_of, words_of
from resnet_cli.data.sources.survey import Survey

#: Words of folders that say that there are images in them, and nothing else.
CONTAINERS = frozenset(
    "image images img imgs photo photos pic pics picture pictures jpg jpgs jpeg jpegs png pngs jpegimages".split()
)
#: Names (lower case) of folders that hold images and denote no class.
IMAGE_FOLDERS = frozenset(
    {"images", "image", "imgs", "img", "jpg", "jpeg", "jpegs", "jpegimages", "data_256", "val_256", "test_256"}
    | {"data_large", "val_large", "test_large"}
)
#: Words of folders that contain an image for each image of another folder: which pixels belong to the object.
MASK_WORDS = frozenset(
    "annotation annotations annots groundtruth gt label labels labelmaps mask masks segmentation segmentations "
    "trimap trimaps".split()
)
#: Names (lower case) of folders that hold images of any class; the last ones are those of labeling tools.
_PLACES = IMAGE_FOLDERS | CONTAINERS | {"data", "media", "upload", "uploads"}


def is_for_images(name: str) -> bool:
    """Whether a folder is called ``images`` or the like, or denotes a split."""
    return name.lower() in _PLACES or split_of(name) is not None


def mask_words(name: str) -> list[str]:
    """The words by which a folder says that its images are masks; empty if it says something else, too."""
    words = [word for word in words_of(name) if word not in CONTAINERS and split_of(word) is None]
    words = ["groundtruth"] if words == ["ground", "truth"] else words
    return words if MASK_WORDS.issuperset(words) else []


def has_class_folders(survey: Survey) -> bool:
    """Whether images are in two or more folders whose names denote neither a split nor a place for all images."""
    names = {folder.name.rpartition("/")[2] for folder in survey.folders.values() if folder.images}
    return sum(bool(name) and not is_for_images(name) for name in names) > 1
