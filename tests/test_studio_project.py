from __future__ import annotations

from pathlib import Path

import pytest

from resnet_cli.errors import ConfigError, DataError
from resnet_cli.studio.changes import change
from resnet_cli.studio.project import Image, Project, read_images
from resnet_cli.studio.projects import create_project, find_project, list_projects


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = create_project(tmp_path / "studio", "pets")
    for label in ("cat", "dog"):
        made.add_class(label)
        made.add_image(label, "1.jpg", label.encode())
    return made


def test_images_are_files_in_class_folders(project: Project) -> None:
    assert (project.path / "images" / "cat" / "1.jpg").read_bytes() == b"cat"
    assert project.classes() == {"cat": ["1.jpg"], "dog": ["1.jpg"]}


def test_the_same_file_is_added_once_and_another_one_of_that_name_gets_its_own(project: Project) -> None:
    assert project.add_image("cat", "1.jpg", b"cat") is None
    other = project.add_image("cat", "1.jpg", b"another cat")
    assert other is not None and len(project.classes()["cat"]) == 2
    assert project.file_of(other).read_bytes() == b"another cat"


@pytest.mark.parametrize(
    "name", ["../../x.jpg", "/etc/x.jpg", "..\\x.jpg", ".x.jpg", "con.jpg", "a:b.jpg", "x" * 300 + ".jpg"]
)
def test_no_file_name_leads_out_of_its_class(project: Project, name: str) -> None:
    image = project.add_image("cat", name, b"x")
    assert image is not None and project.file_of(image).parent == project.images / "cat"


@pytest.mark.parametrize(
    "name", ["", "  ", "..", "a/b", "a\\b", ".hidden", "CON", "train", "test images", "unlabeled", "x" * 61, "CAT"]
)
def test_names_that_cannot_be_those_of_a_class_are_refused(project: Project, name: str) -> None:
    with pytest.raises(ConfigError):
        project.add_class(name)
    with pytest.raises(ConfigError):
        project.rename_class("dog", name)
    assert sorted(path.name for path in project.images.iterdir()) == ["cat", "dog"]


def test_a_class_may_be_called_as_before_in_other_letters(project: Project) -> None:
    assert project.rename_class("cat", "Cat") == "Cat"
    assert project.classes()["Cat"] == ["1.jpg"]


def test_what_is_not_there_is_said_and_nothing_moves(project: Project) -> None:
    before = project.stamp()
    for image in (
        Image("cat", "2.jpg"),
        Image("bird", "1.jpg"),
        Image("..", "studio.json"),
        Image("cat", "../dog/1.jpg"),
    ):
        with pytest.raises(DataError):
            project.file_of(image)
    with pytest.raises(DataError):
        change(project, {"change": "move-images", "images": ["cat/1.jpg", "cat/2.jpg"], "to": "dog"})
    with pytest.raises(DataError):
        project.restore("..", "studio.json")
    assert project.stamp() == before


def test_a_change_and_its_commands_do_the_same(project: Project, tmp_path: Path) -> None:
    import shutil
    import subprocess

    copy = Project(shutil.copytree(project.path, tmp_path / "copy"))
    lines = [
        *change(project, {"change": "add-class", "name": "two words"}),
        *change(project, {"change": "move-images", "images": ["cat/1.jpg"], "to": "dog"}),
        *change(project, {"change": "move-images", "images": ["dog/1.jpg"], "to": None}),
        *change(project, {"change": "rename-class", "label": "dog", "name": "it's a dog"}),
        *change(project, {"change": "remove-class", "label": "cat"}),
    ]
    subprocess.run(["sh", "-e"], input="\n".join(lines), text=True, cwd=copy.path, check=True)
    for where in ("images", "removed"):
        assert _files(project.path / where) == _files(copy.path / where)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_removed_images_come_back(project: Project) -> None:
    change(project, {"change": "move-images", "images": ["cat/1.jpg"], "to": None})
    assert project.classes()["cat"] == [] and (project.path / "removed" / "cat" / "1.jpg").read_bytes() == b"cat"
    change(project, {"change": "restore", "image": "cat/1.jpg"})
    assert project.classes()["cat"] == ["1.jpg"]


def test_a_damaged_state_is_an_empty_one_and_the_images_stay(project: Project) -> None:
    project.store("inspect", {"findings": []})
    assert project.read_state() == {"inspect": {"findings": []}}
    (project.path / "studio.json").write_text("{")
    assert project.read_state() == {} and project.classes()["cat"] == ["1.jpg"]


def test_projects_are_found_by_name_only(project: Project) -> None:
    root = project.path.parent
    (root / "other files").mkdir()
    assert [one.name for one in list_projects(root)] == ["pets"]
    for name in ("..", "", "other files", "pets/images"):
        with pytest.raises(DataError):
            find_project(root, name)
    with pytest.raises(ConfigError, match="already"):
        create_project(root, "Pets")


def test_images_are_named_by_class_and_file() -> None:
    assert read_images(["cat/1.jpg"]) == [Image("cat", "1.jpg")]
    for bad in (["cat"], ["a/b/c"], [None]):
        with pytest.raises(DataError):
            read_images(bad)


def test_an_image_that_is_named_twice_or_moved_to_its_own_class_keeps_its_name(project: Project) -> None:
    one = Image("cat", "1.jpg")
    assert project.move(one, "cat") == project.images / "cat" / "1.jpg"
    change(project, {"change": "move-images", "images": [one.path, one.path], "to": "dog"})
    assert project.classes() == {"cat": [], "dog": ["1-2.jpg", "1.jpg"]}


def test_what_a_link_leads_to_is_shown_and_never_changed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.jpg").write_bytes(b"mine")
    (project.images / "linked").symlink_to(outside)
    assert project.classes()["linked"] == ["1.jpg"]
    for act in (
        lambda: project.move(Image("linked", "1.jpg"), None),
        lambda: project.move(Image("cat", "1.jpg"), "linked"),
        lambda: project.add_image("linked", "2.jpg", b"x"),
    ):
        with pytest.raises(DataError, match="is a link"):
            act()
    assert project.remove_class("linked").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["1.jpg"]
