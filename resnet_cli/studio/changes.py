"""Changes of classes and images that the page asks for, each with the shell command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_cli.errors import ConfigError, DataError
from resnet_cli.studio.project import Project, read_images


def change(project: Project, asked: dict[str, Any]) -> list[str]:
    """Makes a change.

    Args:
        project: The project.
        asked: ``change`` names it; the other values depend on it.

    Returns:
        Shell commands that do the same in the folder of the project.

    Raises:
        ConfigError: There is no such change, or a name cannot be used.
        DataError: A class or an image is not there.
        DiskError: A file cannot be moved.
    """
    make = _CHANGES.get(str(asked.get("change")))
    if make is None:
        raise ConfigError(f"there is no change {asked.get('change')!r}")
    return make(project, asked)


def _add_class(project: Project, asked: dict[str, Any]) -> list[str]:
    return [shlex.join(["mkdir", "-p", f"images/{project.add_class(_text(asked, 'name'))}"])]


def _rename_class(project: Project, asked: dict[str, Any]) -> list[str]:
    old = _text(asked, "label")
    new = project.rename_class(old, _text(asked, "name"))
    return [shlex.join(["mv", f"images/{old}", f"images/{new}"])]


def _remove_class(project: Project, asked: dict[str, Any]) -> list[str]:
    label = _text(asked, "label")
    return ["mkdir -p removed", _moved(project, f"images/{label}", project.remove_class(label))]


def _move_images(project: Project, asked: dict[str, Any]) -> list[str]:
    """Moves images to another class; without one, to ``removed/``."""
    to, images = asked.get("to"), asked.get("images")
    if not (to is None or isinstance(to, str)) or not isinstance(images, list):
        raise DataError("images is a list of names, and to is a class")
    found = list(dict.fromkeys(read_images(images)))
    # All or nothing: whatever is missing is known before anything moves.
    for image in found:
        project.file_of(image)
    lines = [] if to is not None else [shlex.join(["mkdir", "-p", *{f"removed/{image.label}": 0 for image in found}])]
    return lines + [_moved(project, f"images/{image.path}", project.move(image, to)) for image in found]


def _restore(project: Project, asked: dict[str, Any]) -> list[str]:
    (removed,) = read_images([asked.get("image")])
    image = project.restore(removed.label, removed.name)
    return [_moved(project, f"removed/{removed.path}", project.images / image.path)]


def _accept_labels(project: Project, asked: dict[str, Any]) -> list[str]:
    """Remembers that suspected labels are right, so that the page does not show them again."""
    images = asked.get("images")
    names = [image.path for image in read_images(images if isinstance(images, list) else [None])]
    before = project.read_state().get("accepted", {}).get("images")
    project.store("accepted", {"images": sorted({*(before if isinstance(before, list) else []), *names}, key=str)})
    return []


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise DataError(f"{name} is missing")
    return value


def _moved(project: Project, old: str, new: Path) -> str:
    return shlex.join(["mv", old, str(new.relative_to(project.path))])


_CHANGES: dict[str, Callable[[Project, dict[str, Any]], list[str]]] = {
    "add-class": _add_class,
    "rename-class": _rename_class,
    "remove-class": _remove_class,
    "move-images": _move_images,
    "restore": _restore,
    "accept-labels": _accept_labels,
}
