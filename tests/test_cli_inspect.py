"""``resnet-cli inspect``, and how the other commands handle a faulty data set."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.planted_faults import contents, cut, one_bit_png, photo, write_folder
from support.running import IMPORTED, PRECISION, TINY_FLAGS, lines_until, run_cli, spawn, tolerance

from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection import scan as scanning
from resnet_cli.data.inspection.index import Index, ScannedImage, stamp_file
from resnet_cli.images import MAX_PIXELS
from resnet_cli.system.caches import CacheWarning

pytest_plugins = ["support.narrow_network", "support.small_runs"]
pytestmark = pytest.mark.usefixtures("narrow_unless_trained", "no_plots")

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and names")
FROZEN = ("--mode", "frozen", "--epochs", "1", *TINY_FLAGS)


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A dry run measures one batch; a small one suffices.
    monkeypatch.setattr("resnet_cli.training.estimate.inference_batch_size", lambda *_: 4)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pets", {"cat": 12, "dog": 12})


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    root = write_folder(tmp_path / "pets", {"train/cat": 12, "train/dog": 12, "test/cat": 3, "test/dog": 3})
    cat = root / "train" / "cat"
    shutil.copy(cat / "000.jpg", root / "test" / "cat" / "leak.jpg")
    shutil.copy(cat / "001.jpg", cat / "copy.jpg")
    photo(2).resize((50, 40)).save(cat / "near.jpg", quality=60)
    cut(cat / "003.jpg", cat / "003.jpg")
    (cat / "empty.jpg").touch()
    return root


def report_of(*arguments: object) -> dict[str, Any]:
    result = run_cli("inspect", *arguments, "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def fails(exit_code: int, *arguments: object, named: str) -> None:
    result = run_cli(*arguments)
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert named in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert list(Path().iterdir()) == []


# What it prints, and where.


def test_the_tables_are_on_stdout_and_say_what_is_wrong_and_what_to_do(faulty: Path) -> None:
    result = run_cli("inspect", faulty)
    assert result.exit_code == 0, result.output
    for text in (
        "pets: 34 images",
        "1.33 (median), 1.25 to 1.33",
        "Unreadable (2)",
        "train/cat/empty.jpg: the file is empty",
        "train/cat/000.jpg",
        "test/cat/leak.jpg",
        "(train, test)",
        "train/cat/001.jpg = train/cat/copy.jpg",
        "train/cat/002.jpg ~ train/cat/near.jpg",
        "What to do",
        "2 images cannot be read",
        "Fix first",
        "Worth a look",
        "Good to know",
    ):
        assert text in result.stdout, text
    assert "What to do" not in result.stderr
    # Commands name the data, so that they can be typed.
    unwrapped = "".join(result.stdout.split())
    assert f"resnet-cliinspect{faulty}--fix" in unwrapped
    assert f"resnet-clifinetune{faulty}--on-bad-imageskip" in unwrapped
    assert result.stdout.index("Fix first") < result.stdout.index("2 images cannot be read")
    assert result.stdout.index("Worth a look") < result.stdout.index("are copies of another")
    assert "\x1b" not in result.output
    assert list(Path().iterdir()) == []


def test_the_first_line_says_how_data_was_read(pets: Path) -> None:
    first = run_cli("inspect", pets).stdout.splitlines()[0]
    assert first == "Read as one folder per class: 2 classes, 24 images."
    assert report_of(pets)["reading"] == "one folder per class"
    result = run_cli("finetune", pets, *FROZEN, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "read as one folder per class" in " ".join(result.stdout.replace("│", " ").split())


def test_the_first_line_counts_images_without_a_label(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "leaves", {"images": 30})
    rows = [f"{number:03d},{','.join('1' if kind == number % 3 else '0' for kind in range(3))}" for number in range(24)]
    (root / "train.csv").write_text("\n".join(["image_id,healthy,rust,scab", *rows]))
    first = run_cli("inspect", root).stdout.splitlines()[0]
    assert first.startswith("Read as table train.csv")
    assert first.endswith(": 3 classes, 24 images, 6 without a label.")


def test_inspect_and_finetune_say_the_same_of_names_that_differ_in_spelling(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"golden retriever": 12, "golden_retriever": 12})
    (found,) = report_of(root)["warnings"]
    assert found["code"] == "spelling" and "'golden retriever' (12) and 'golden_retriever' (12)" in found["message"]
    result = run_cli("finetune", root, *FROZEN, "--dry-run", "--json")
    assert f"{found['message']}: {found['fix']}" in json.loads(result.stdout)["warnings"]


def test_inspect_names_what_finetune_refuses(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12, "an owl": 1})
    (found,) = (warning for warning in report_of(root)["warnings"] if warning["code"] == "refused")
    assert "'an owl' has 1 training image" in found["message"] and found["fix"].endswith("--classes cat,dog")
    result = run_cli("finetune", root, *FROZEN)
    assert result.exit_code == 3
    said = " ".join(result.stderr.replace("│", " ").split())
    assert found["message"].removeprefix("finetune refuses this data: ") in said and found["fix"] in said


def test_a_clean_folder_is_told_so(pets: Path) -> None:
    result = run_cli("inspect", pets)
    assert result.exit_code == 0
    assert "No problems found." in result.stdout and "What to do" not in result.stdout


def test_json_is_one_object_and_nothing_else(faulty: Path) -> None:
    found = report_of(faulty)
    assert found["schema_version"] == 1 and found["num_images"] == 34
    assert [row["path"] for row in found["unreadable"]] == ["train/cat/003.jpg", "train/cat/empty.jpg"]
    assert len(found["exact_duplicates"]) == 2 and len(found["near_duplicates"]) == 1
    assert found["leaks"] == [
        {"paths": ["test/cat/leak.jpg", "train/cat/000.jpg"], "exact": True, "splits": ["test", "train"]}
    ]
    assert found["written"] == []


def test_quiet_says_only_what_was_written(faulty: Path) -> None:
    result = run_cli("inspect", faulty, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    result = run_cli("inspect", faulty, "--quiet", "--fix", "--html", "page.html")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "pets-clean.csv\npage.html\n", "")


def test_html_writes_one_page(faulty: Path) -> None:
    result = run_cli("inspect", faulty, "--html", "page.html")
    assert result.exit_code == 0, result.output
    assert "page.html" in result.stdout
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html") and "train/cat/empty.jpg" in page
    assert [path.name for path in Path().iterdir()] == ["page.html"]


def test_the_lists_are_short_and_the_worst_comes_first(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"train/cat": 12, "train/dog": 12, "val/cat": 2, "val/dog": 2})
    for number in range(12):
        for copy in range(5):
            shutil.copy(root / "train" / "dog" / f"{number:03d}.jpg", root / "train" / "dog" / f"{number}-{copy}.jpg")
    shutil.copy(root / "train" / "dog" / "011.jpg", root / "val" / "dog" / "leak.jpg")
    lines = run_cli("inspect", root).stdout.splitlines()
    start = lines.index("Exact copies (12)")
    assert lines[start + 1].endswith("and 4 more  (train, val)")
    assert lines[start + 2].endswith("and 3 more")
    assert lines[start + 9] == "  and 4 more; --json and --html have them"
    assert "5 images are copies" not in lines


@POSIX
def test_names_are_neither_cut_nor_read_as_markup_or_orders(tmp_path: Path) -> None:
    nasty = tmp_path / "[bold]x"
    name = "\x1b]0;PWN\x07" + "long" * 40
    for folder in ("a", "b"):
        write_folder(nasty / folder, {name: 1})
        (nasty / folder / name / "000.jpg").write_bytes(b"")
    result = run_cli("inspect", nasty)
    assert result.exit_code == 0, result.output
    assert "[bold]x: 2 images" in result.stdout
    assert "long" * 40 in result.stdout
    assert "\x1b" not in result.output and "\x07" not in result.output


@POSIX
def test_names_that_are_not_utf_8_come_out_whole(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12})
    raw = os.fsencode(root) + b"/cat/\xff.jpg"
    shutil.copy(root / "cat" / "000.jpg", Path(os.fsdecode(raw)))
    assert run_cli("inspect", root).exit_code == 0
    (group,) = report_of(root)["exact_duplicates"]
    assert os.fsencode(group[1]) == b"cat/\xff.jpg"


def test_deep_asks_the_backbone_about_every_readable_image(faulty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def features(items: list[Item], **options: Any) -> np.ndarray:
        asked.update(options, names=[item.name for item in items])
        found = np.eye(len(items), 64, dtype=np.float32)
        # Two images that signatures would not pair.
        found[asked["names"].index("train/dog/000.jpg")] = found[asked["names"].index("train/dog/001.jpg")]
        return found

    monkeypatch.setattr("resnet_cli.commands.inspect.imagenet_features", features)
    found = report_of(faulty, "--deep", "--device", "cpu", "--offline")
    assert len(asked["names"]) == 32 and (asked["device"], asked["offline"]) == ("cpu", True)
    near = {tuple(row["paths"]) for row in found["near_duplicates"]}
    assert near == {("train/cat/002.jpg", "train/cat/near.jpg"), ("train/dog/000.jpg", "train/dog/001.jpg")}
    assert "(by look and features)" in run_cli("inspect", faulty, "--deep").stdout


def test_deep_without_weights_says_how_to_get_them(pets: Path) -> None:
    fails(5, "inspect", pets, "--deep", "--offline", named="no ImageNet weights on this machine")


def test_features_of_an_untrained_backbone_prove_nothing(pets: Path) -> None:
    assert run_cli("finetune", pets, *FROZEN, "--quiet").exit_code == 0
    # With random weights, all images look the same.
    assert report_of(pets)["near_duplicates"] == []


# The cleaned table.


def test_fix_writes_a_table_that_finetune_takes_and_touches_nothing(faulty: Path) -> None:
    before = contents(faulty)
    result = run_cli("inspect", faulty, "--fix")
    assert result.exit_code == 0, result.output
    assert "30 images; 4 omitted; next: resnet-cli finetune pets-clean.csv" in result.stdout
    assert contents(faulty) == before
    again = report_of("pets-clean.csv")
    assert again["num_images"] == 30
    for key in ("unreadable", "exact_duplicates", "leaks", "label_conflicts"):
        assert again[key] == []
    assert any(name.endswith("test/cat/leak.jpg") for name in names_of("pets-clean.csv"))
    result = run_cli("finetune", "pets-clean.csv", *FROZEN, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert not any("splits" in warning for warning in json.loads(result.stdout)["warnings"])


def names_of(table: str) -> list[str]:
    with Path(table).open(encoding="utf-8", newline="") as file:
        return [row["image"] for row in csv.DictReader(file)]


def test_class_folders_with_several_labels_are_inspected_and_cleaned(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "days", {"beach": 12, "dog": 12, "_none": 3})
    for number in range(10):
        (root / "sky").mkdir(exist_ok=True)
        shutil.copy(root / "beach" / f"{number:03d}.jpg", root / "sky" / f"x{number}.jpg")
    assert "--multi-label" in run_cli("inspect", root).stdout
    result = run_cli("inspect", root, "--multi-label", "--fix", "--out", "clean.csv", "--html", "page.html")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "labels per image 1.26 (mean), 0 to 2" in text and "images without a label 3" in text
    # How the data was read is no problem to solve.
    todo, notes = text.split(" Notes ")
    assert "3 of 27" in notes and "3 of 27" not in todo and "What to do" in todo
    assert "beach + sky (10)" in text and "every image with 'sky' also has 'beach' (10 images)" in text
    assert "Labels per image" in Path("page.html").read_text(encoding="utf-8")
    before, after = report_of(root, "--multi-label"), report_of("clean.csv")
    assert before["task"] == after["task"] == "multi-label"
    assert before["labels_per_image"] == after["labels_per_image"] == {"0": 3, "1": 14, "2": 10}
    assert before["classes_together"] == after["classes_together"]
    assert before["fingerprint"] == after["fingerprint"]


def test_fix_says_in_json_what_it_wrote(faulty: Path) -> None:
    assert report_of(faulty, "--fix", "--out", "mine.csv")["written"] == ["mine.csv"]
    assert Path("mine.csv").is_file()


def test_an_existing_table_is_left_as_it_is_and_no_image_is_looked_at(
    faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pets-clean.csv").write_text("mine")
    monkeypatch.setattr(scanning, "scan_image", None)
    result = run_cli("inspect", faulty, "--fix")
    assert result.exit_code == 2 and "exists already" in result.stderr
    assert Path("pets-clean.csv").read_text() == "mine"


def test_a_set_in_memory_has_no_table() -> None:
    fails(3, "inspect", "digits", "--fix", named="digits does not consist of files")


@pytest.mark.parametrize(
    ("flags", "exit_code", "named"),
    [
        (["--out", "x.csv"], 2, "--out x.csv has no effect without --fix"),
        (["--device", "cpu"], 2, "--device cpu has no effect without --deep"),
        (["--fix", "--out", "x.txt"], 2, "must end in .csv"),
        (["--fix", "--out", "my set"], 2, "--out 'my set'.csv"),
        (["--fix", "--out", "no/such/folder.csv"], 6, "no/such"),
        (["--html", "no/such/page.html"], 6, "no/such"),
        (["--on-bad-image", "skip"], 2, "has no flag --on-bad-image"),
        (["--max-pixels", "0"], 2, "--max-pixels 0"),
        (["--label-column", "x"], 2, "--label-column has no effect"),
        (["--classes", "cat,cow"], 3, "'cow' is not a class"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else "",
)
def test_a_flag_that_cannot_be_is_refused(pets: Path, flags: list[str], exit_code: int, named: str) -> None:
    fails(exit_code, "inspect", pets, *flags, named=named)


def test_missing_data_is_named(tmp_path: Path) -> None:
    fails(3, "inspect", tmp_path / "nowhere", named="no such folder")
    result = run_cli("inspect", tmp_path / "nowhere", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert json.loads(result.stderr)["error"]["code"] == "data"


# Signals, offline use and the environment.


@pytest.mark.parametrize("cache", ["/proc/nowhere", "file"])
def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    faulty: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: str
) -> None:
    wanted = report_of(faulty)
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / cache) if cache == "file" else cache)
    with pytest.warns(CacheWarning, match=cache):
        assert report_of(faulty) == wanted


@pytest.mark.parametrize("flags", [["--json"], [], ["--fix"], ["--html", "page.html"]], ids=" ".join)
def test_inspect_loads_no_torch(faulty: Path, flags: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "inspect", str(faulty), *flags], capture_output=True, text=True, check=True
    )
    code, names = json.loads(done.stderr.rpartition("\n")[2])
    assert code == 0
    assert not set(names) & {"torch", "torchvision", "sklearn", "matplotlib", "pyarrow", "safetensors"}


def test_a_bad_flag_is_refused_before_anything_heavy_is_loaded(pets: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "inspect", str(pets), "--out", "x.csv"],
        capture_output=True,
        text=True,
        check=True,
    )
    code, names = json.loads(done.stderr.rpartition("\n")[2])
    assert code == 2
    assert not set(names) & {"torch", "numpy", "PIL"}


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Slows down this process and those that it starts, so that it can be interrupted on any machine."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@POSIX
@pytest.mark.usefixtures("one_processor")
def test_ctrl_c_ends_with_130_and_the_next_call_goes_on(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "many"
    photo(0, (2000, 1500)).save(tmp_path / "one.jpg", quality=30)
    data = (tmp_path / "one.jpg").read_bytes()
    files = [root / "ab"[number % 2] / f"{number:04d}.jpg" for number in range(1000)]
    for name in "ab":
        (root / name).mkdir(parents=True)
    for number, path in enumerate(files):
        path.write_bytes(data + number.to_bytes(2, "big"))
    with spawn(["inspect", root], here) as process:
        assert process.stderr
        # This line comes after a second in which images were checked.
        lines_until(process.stderr, "checking images")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "interrupted; the images checked so far will not be checked again" in stderr
    assert "Traceback" not in stderr
    with Index() as index:
        known = index.load([stamp_file(path, MAX_PIXELS) for path in files])
    assert 0 < len(known) < len(files)
    seen = [path for path in files if os.fsencode(path) in known]
    new = [path for path in files if os.fsencode(path) not in known][:3]
    looked_at: list[str] = []
    scan_image = scanning.scan_image

    def scan_and_note(item: Item, *read: Any, signatures: bool = True) -> ScannedImage:
        looked_at.append(item.name)
        return scan_image(item, *read, signatures=signatures)

    monkeypatch.setattr(scanning, "scan_image", scan_and_note)
    scanning.scan([Item(str(path), path) for path in [*seen, *new]])
    assert sorted(looked_at) == [str(path) for path in new]


# Images that cannot be read, in the other commands.


def spoil(root: Path) -> list[str]:
    """Makes three images unreadable."""
    cut(root / "cat" / "003.jpg", root / "cat" / "003.jpg")
    (root / "cat" / "009.jpg").write_bytes(b"")
    (root / "dog" / "000.jpg").write_text("a dog")
    return ["cat/003.jpg", "cat/009.jpg", "dog/000.jpg"]


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_finetune_stops_before_anything_is_written(pets: Path, mode: str) -> None:
    bad = spoil(pets)
    for name in bad:
        fails(3, "finetune", pets, "--mode", mode, *TINY_FLAGS, named=str(pets / name))
    fails(3, "finetune", pets, "--mode", mode, *TINY_FLAGS, named="3 of 24 images cannot be read")


def test_finetune_without_them_writes_down_which_and_eval_gives_the_same_figures(pets: Path) -> None:
    bad = spoil(pets)
    result = run_cli("finetune", pets, *FROZEN, "--on-bad-image", "skip", "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["num_skipped"] == json.loads(result.stdout)["num_skipped"] == 3
    with Path("run/skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(pets / name) for name in bad]
    assert [bool(row["reason"]) for row in rows] == [True] * 3
    split = Path("run/split.csv").read_text()
    assert split.count("\n") == 1 + 21 and not any(name in split for name in bad)
    scores = run_cli("eval", "run", "--json", "--precision", PRECISION)
    assert scores.exit_code == 0, scores.output
    found = json.loads(scores.stdout)
    for key in ("top1", "confusion"):
        assert found[key] == metrics["test"][key]
    # Losses are equal within a tolerance: features may be computed again, in other batches.
    assert found["loss"] == pytest.approx(metrics["test"]["loss"], abs=tolerance(1e-6))


def test_a_run_without_unreadable_images_has_no_list_of_them(pets: Path) -> None:
    result = run_cli("finetune", pets, *FROZEN, "--on-bad-image", "skip", "--out", "run", "--quiet")
    assert result.exit_code == 0, result.output
    assert not Path("run/skipped.csv").exists()
    assert json.loads(Path("run/metrics.json").read_text())["num_skipped"] == 0


def test_eval_stops_at_an_unreadable_image_or_goes_on_without_it(pets: Path, tmp_path: Path) -> None:
    assert run_cli("finetune", pets, *FROZEN, "--out", "run", "--quiet").exit_code == 0
    twin = shutil.copytree(pets, tmp_path / "twin")
    bad = spoil(twin)
    result = run_cli("eval", "run", twin, "--json")
    # Of the images that the model has not seen, which may include these ones.
    assert result.exit_code == 3 and re.search(r"\b3 of \d images cannot be read", result.stderr)
    result = run_cli("eval", "run", twin, "--on-bad-image", "skip", "--json")
    assert result.exit_code == 0, result.output
    assert all(str(twin / name) in result.stderr for name in bad)
    for name in bad:
        (twin / name).unlink()
    assert json.loads(result.stdout) == json.loads(run_cli("eval", "run", twin, "--json").stdout)


@pytest.mark.parametrize("command", ["inspect", "finetune", "eval", "predict"])
def test_every_command_knows_the_pixel_limit(pets: Path, command: str) -> None:
    large = pets / "cat" / "large.png"
    # Above the 179 million pixels at which Pillow raises an error.
    large.write_bytes(one_bit_png(15_000, 12_500) if command == "inspect" else one_bit_png(9_000, 6_000))
    if command in ("eval", "predict"):
        assert run_cli("finetune", pets, *FROZEN, "--max-pixels", 200_000_000, "--out", "run", "-q").exit_code == 0
    arguments: dict[str, list[object]] = {
        "inspect": ["inspect", pets, "--json"],
        "finetune": ["finetune", pets, *FROZEN, "--dry-run", "--json"],
        # The model was trained on the large image.
        "eval": ["eval", "run", pets, "--seen", "include", "--json"],
        "predict": ["predict", large, "--model", "run", "--json"],
    }
    refused = run_cli(*arguments[command])
    assert "50,000,000" in refused.output
    assert refused.exit_code == (0 if command == "inspect" else 3)
    small = run_cli(*arguments[command], "--max-pixels", 1000)
    assert "1,000" in small.output
    read = run_cli(*arguments[command], "--max-pixels", 200_000_000)
    assert read.exit_code == 0, read.output
    assert "limit of" not in read.output
    # A higher limit applied to that call only.
    assert "50,000,000" in run_cli(*arguments[command]).output
