"""The projects in a folder: found, opened and created."""

from __future__ import annotations

from pathlib import Path

from resnet_cli.errors import ConfigError, DataError
from resnet_cli.studio.project import STATE_FILE, Project, check_name, folders_in
from resnet_cli.system.paths import make_dir


def list_projects(root: Path) -> list[Project]:
    """The projects in a folder, the one that was changed last first."""
    found = [folder for folder in folders_in(root) if (folder / "images").is_dir()]
    return [Project(folder) for folder in sorted(found, key=_changed, reverse=True)]


def find_project(root: Path, name: str) -> Project:
    """A project by its name.

    Raises:
        DataError: There is no such project.
    """
    for project in list_projects(root):
        if project.name == name:
            return project
    raise DataError(f"there is no project {name!r}; was its folder moved?")


def create_project(root: Path, name: str) -> Project:
    """Creates a project.

    Raises:
        ConfigError: The name cannot be that of a project, or is taken.
        DiskError: Its folder cannot be created.
    """
    name = check_name(name, "a project")
    if name.casefold() in {folder.name.casefold() for folder in folders_in(root)}:
        raise ConfigError(f"the folder {name!r} already exists")
    make_dir(root / name / "images")
    return Project(root / name)


def _changed(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, folder / "images", folder / STATE_FILE) if path.exists())
