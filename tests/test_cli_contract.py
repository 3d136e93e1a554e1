"""What scripts rely on: every flag of every command, the keys of every JSON object, the columns of every table.

The contract is in ``cli_contract.json``. To change it on purpose, rewrite that file and have its difference reviewed:

    python tests/test_cli_contract.py --write

Help texts are not part of it.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from support.narrow_network import make_narrow
from support.planted_faults import cut, photo, write_folder
from support.running import CLASSES, run_cli
from support.small_runs import write_image
from typer.core import TyperGroup

from resnet_cli.cli import COMMANDS, app

pytest_plugins = ["support.narrow_network", "support.small_runs"]

CONTRACT = Path(__file__).with_name("cli_contract.json")
#: Part -> name -> one entry per line of the file.
Part = Mapping[str, list[Any]]

CPU = "--device cpu --precision fp32"
# One thread: how several are tuned, and written down, depends on the machine.
TINY = f"--weights none --image-size 32 --threads 1 {CPU}"
SMALL = f"photos --weights none --image-size 32 --epochs 2 --batch-size 8 --threads 1 {CPU}"
#: What is recorded -> the command that prints it as JSON. They run in this order, and later ones use what earlier ones
#: wrote.
COMMAND_LINES = {
    "finetune": f"finetune {SMALL} --mode frozen --out run",
    "finetune --mode full": f"finetune {SMALL} --mode full --out full",
    "finetune --seeds": f"finetune {SMALL} --mode frozen --seeds 2 --out seeds",
    "finetune --add": f"finetune digits --classes 0,1 --limit 12 --weights run --add {CPU} --out added",
    "finetune --dry-run": f"finetune {SMALL} --mode full --dry-run",
    "eval": f"eval run --slice parent --target-error 60% --save-predictions scored.csv {CPU}",
    "eval --from-predictions": "eval --from-predictions scored.csv --slice parent",
    "eval MODEL MODEL": f"eval run full photos {CPU}",
    "eval --learning-curve": f"eval run photos --learning-curve {CPU}",
    "eval --label-audit": f"eval run photos --label-audit --out labels.csv {CPU}",
    "eval --robustness": f"eval run photos --robustness {CPU}",
    "export": "export run --out model.onnx",
    "export --benchmark": "export run --benchmark",
    "eval FILE": f"eval model.onnx photos {CPU}",
    "predict": f"predict photos/test --model run {CPU}",
    "predict --abstain": f"predict photos/test --model run --abstain {CPU}",
    "predict --all-probs": f"predict photos/test --model run --all-probs {CPU}",
    "predict --similar": f"predict --similar photos/test/red/0.jpg --among photos/val --model run {CPU}",
    "inspect": "inspect faulty --group-by ([0-9]+) --fix --out clean.csv",
    "doctor": "doctor",
    "runs": "runs list .",
    "runs show": "runs show full",
    "runs compare": f"runs compare run full {CPU.partition('--precision')[0]}",
    "runs rm": "runs rm added --yes",
    "download": "download digits",
    "download --list": "download --list",
    "inspect, multi-label": "inspect several/labels.csv",
    "finetune, multi-label": f"finetune several/labels.csv {TINY} --out labels",
    "eval, multi-label": f"eval labels --slice parent --target-recall 5% --save-predictions labels-scored.csv {CPU}",
    "eval --from-predictions, multi-label": "eval --from-predictions labels-scored.csv --threshold 50%",
    "eval MODEL MODEL, multi-label": f"eval labels labels {CPU}",
    "predict, multi-label": f"predict photos/test --model labels {CPU}",
    "an error": "finetune nowhere",
}
#: Tables and files of rows that commands write instead of printing JSON.
WRITING = (
    f"predict faulty photos/test --model run --output answered.csv {CPU}",
    f"predict faulty photos/test --model run --output answered.jsonl {CPU}",
    f"predict photos/test --model labels --all-probs --output several.csv {CPU}",
    # No probability reaches 1: every readable image is unknown.
    f"predict photos/test --model run --threshold 1 --output abstained.jsonl {CPU}",
    f"predict photos/test --model run --embeddings features.npy {CPU}",
    f"finetune faulty --on-bad-image skip --weights none --image-size 32 --mode frozen --epochs 1 --out skipped {CPU}",
)
#: Where the columns of tables are read.
TABLES = (
    *("run/history.csv", "run/split.csv", "run/confusion.csv", "skipped/skipped.csv"),
    *("scored.csv", "labels.csv", "clean.csv", "answered.csv", "features.npy.names.csv"),
    *("labels/history.csv", "labels/split.csv", "labels-scored.csv", "several.csv"),
)
#: Words that come from the data, not from the program.
OF_THE_DATA = re.compile(rf"\b({'|'.join(CLASSES)}|[0-9]+)\b")


def parameters() -> Part:
    """Every parameter of every command, in the order of their declaration."""
    for name in COMMANDS:
        # A command is loaded when it is called.
        assert run_cli(name, "--help").exit_code == 0
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    found = {"resnet-cli": group.params}
    for name, command in group.commands.items():
        found[name] = command.params
        for inner in command.commands.values() if isinstance(command, TyperGroup) else ():
            found[f"{name} {inner.name}"] = inner.params
    # The flags for shell completion are Typer's own.
    return {
        name: [_described(one) for one in params if not str(one.name).endswith("_completion")]
        for name, params in found.items()
    }


def _described(parameter: Any) -> dict[str, Any]:
    # What --help shows: a text of its own, or a default that is not unset.
    default = parameter.show_default
    if not isinstance(default, str):
        is_shown = default and parameter.default not in (None, False)
        default = str(parameter.default) if is_shown else None
    return {
        "name": parameter.name,
        "kind": parameter.param_type_name,
        "flags": [*parameter.opts, *parameter.secondary_opts],
        "default": default,
        "boolean": getattr(parameter, "is_bool_flag", False),
        "repeated": parameter.nargs == -1 or getattr(parameter, "multiple", False),
        "panel": parameter.rich_help_panel,
    }


def outputs(folder: Path) -> dict[str, Part]:
    """Runs the commands in an empty folder; the keys of their JSON, the columns of their tables, the files of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RESNET_CLI_CACHE", str(folder / "cache"))
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.setenv("RESNET_CLI_OFFLINE", "1")
        patch.setenv("NO_COLOR", "1")
        patch.delenv("RESNET_CLI_MIRROR", raising=False)
        make_narrow(patch)
        write_photos(Path("photos"))
        write_faulty(Path("faulty"))
        write_several(Path("several"))
        keys = {}
        for name, line in COMMAND_LINES.items():
            text = called(f"{line} --json", code=3 if name == "an error" else 0)
            keys[name] = key_paths(json.loads(row) for row in text.splitlines())
        for line in WRITING:
            # Each of the faulty images is reported, which is exit code 3.
            called(line, code=3 if line.startswith("predict faulty") else 0)
        for kind, rows in _grouped(_rows("answered.jsonl") + _rows("abstained.jsonl"), _kind).items():
            keys[f"predict --output, {kind}"] = key_paths(rows)
        for kind, rows in _grouped(_rows("run/events.jsonl"), lambda row: str(row["event"])).items():
            keys[f"events.jsonl, {kind}"] = key_paths(rows)
        keys["metrics.json"] = key_paths([json.loads(_text("run/metrics.json"))])
        keys["config.yaml"] = key_paths([yaml.safe_load(_text("run/config.yaml"))])
        columns = {name: _header(_text(name)) for name in TABLES}
        columns["predict --csv"] = _header(called(f"predict photos/test --model run --csv {CPU}"))
        files = {"a run": _files(Path("run")), "a run, multi-label": _files(Path("labels"))}
        return {"keys": keys, "columns": columns, "files": files}


def called(line: str, *, code: int = 0) -> str:
    """What a command prints on stdout, or on stderr if it is to fail with an exit code."""
    result = run_cli(*line.split())
    assert result.exit_code == code, (line, result.output, result.exception)
    return result.stderr if code and not result.stdout else result.stdout


def write_photos(root: Path) -> None:
    """Three classes with splits; one train label in each class is wrong."""
    for split, count in {"train": 16, "val": 8, "test": 4}.items():
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                write_image(folder, split, label, index)
            if split == "train":
                write_image(folder, split, (label + 1) % len(CLASSES), count)


def write_several(root: Path) -> None:
    """Images with two labels, one, or none, and their table; some values are unknown."""
    root.mkdir()
    rows = ["image," + ",".join(CLASSES)]
    for index in range(48):
        write_image(root, "train", index % 3, index)
        name = next(root.glob(f"{index}.*")).name
        rows.append(f"{name},{index % 2},{'' if index == 7 else index // 2 % 2},{index // 4 % 2}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


def write_faulty(root: Path) -> None:
    """Images with everything that ``inspect`` looks for."""
    write_folder(root, {"train/red": 6, "train/green": 6, "test/red": 3, "test/green": 3})
    red = root / "train" / "red"
    shutil.copy(red / "000.jpg", root / "test" / "red" / "leak.jpg")
    shutil.copy(red / "001.jpg", root / "train" / "green" / "conflict.jpg")
    photo(2).resize((50, 40)).save(red / "near.jpg", quality=60)
    cut(red / "003.jpg", red / "003.jpg")
    (red / "empty.jpg").touch()
    (red / "notes.txt").write_text("no image")


def key_paths(objects: Iterable[Any]) -> list[str]:
    """``{"a": [{"b": 1}]}`` -> a, a[].b: the keys of all the objects, sorted; those from the data are ``*``."""

    def walk(value: Any, at: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                path = f"{at}.{_general(str(key))}".removeprefix(".")
                found.add(path)
                walk(inner, path)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, f"{at}[]")

    found: set[str] = set()
    for one in objects:
        walk(one, "")
    return sorted(found)


def _general(name: str) -> str:
    return OF_THE_DATA.sub("*", name)


def _header(text: str) -> list[str]:
    return list(dict.fromkeys(map(_general, next(csv.reader(io.StringIO(text))))))


def _text(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _text(name).splitlines()]


def _grouped(rows: list[dict[str, Any]], kind: Callable[[dict[str, Any]], str]) -> dict[str, list[dict[str, Any]]]:
    return {name: [row for row in rows if kind(row) == name] for name in sorted(set(map(kind, rows)))}


def _kind(row: dict[str, Any]) -> str:
    return "unreadable" if row["error"] else "abstained" if row["unknown"] else "answered"


def _files(run: Path) -> list[str]:
    # Checkpoints are named by their step.
    names = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return sorted({"checkpoints/*" if name.parts[0] == "checkpoints" else _general(name.as_posix()) for name in names})


def written(contract: Mapping[str, Part]) -> str:
    """The text of the file: one entry per line, so that differences can be read."""
    parts = []
    for name, part in contract.items():
        lists = [
            f"    {json.dumps(key)}: [\n      " + ",\n      ".join(_entries(part[key])) + "\n    ]" for key in part
        ]
        parts.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lists) + "\n  }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _entries(entries: Iterable[Any]) -> list[str]:
    return [json.dumps(entry, ensure_ascii=False) for entry in entries]


def compare(part: str, found: Part) -> None:
    """Fails with the entries that differ, where a part is not as the file has it."""
    expected = json.loads(CONTRACT.read_text(encoding="utf-8"))[part]
    shown = []
    for name in {**expected, **found}:
        before, now = (_entries(side.get(name, [])) for side in (expected, found))
        changed = [line for line in difflib.ndiff(before, now) if line[0] in "-+"]
        shown += [f"{name}:", *changed] * bool(changed)
    if shown:
        head = f"The {part} differ from {CONTRACT.name} (-: in the file, +: found)."
        hint = f"If this is intended: python tests/{Path(__file__).name} --write"
        pytest.fail("\n".join([head, *shown, hint]), pytrace=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    return outputs(tmp_path_factory.mktemp("contract"))


def test_every_parameter_is_as_before() -> None:
    compare("parameters", parameters())


@pytest.mark.parametrize("part", ["keys", "columns", "files"])
def test_every_output_is_as_before(made: dict[str, Part], part: str) -> None:
    compare(part, made[part])


def main() -> None:
    """Rewrites the file."""
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        contract = {"parameters": parameters()} | outputs(Path(folder))
    CONTRACT.write_text(written(contract), encoding="utf-8")


if __name__ == "__main__":
    main()
