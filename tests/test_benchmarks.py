"""The benchmarks: every name of the list, rows and their Markdown, JSON in pieces, the tables of docs/benchmarks.md."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as entry
from benchmarks import engine_table, figures, growth, suite
from benchmarks.processes import CommandError, launch, run
from benchmarks.setting import Setting
from benchmarks.suite import MEASUREMENTS, NAMES, Measurement
from benchmarks.table import Row, from_json, spread, to_json

ABOUT = {"machine": "a machine, 2 threads", "load": "0.1 before the start", "versions": "torch 9", "command": "python"}
ROW = Row("training | step", 1.234, "x", at_least=0.95, details={"n": 5, "min": 1.1, "by": "a\nb"})


def one_row(setting: Setting) -> Iterator[Row]:
    assert Path.cwd() == setting.scratch and not list(setting.scratch.iterdir())
    yield ROW


def breaks(setting: Setting) -> Iterator[Row]:
    yield ROW
    os.environ["LEFT_BEHIND"] = "yes"
    raise CommandError("it ended with 3")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path, tmp_path, quick=True)


@pytest.fixture
def two_measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A list of two in place of the real one, one of which breaks."""
    monkeypatch.setattr(suite, "MEASUREMENTS", (Measurement("good", "made:good"), Measurement("bad", "made:bad")))
    monkeypatch.setattr(Measurement, "find", lambda self: {"good": one_row, "bad": breaks}[self.name])
    monkeypatch.setattr(entry, "head", lambda gpu: ABOUT)
    monkeypatch.setenv("RESNET_CLI_ASSETS", str(tmp_path))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=NAMES)
def test_each_name_of_the_list_is_a_function(measurement: Measurement) -> None:
    assert callable(measurement.find())


def test_no_name_stands_twice_in_the_list() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_a_row_says_whether_its_bar_is_met() -> None:
    assert ROW.verdict == "ok" and Row("a", 3.0, "x", at_most=2).verdict == "missed"
    for nothing in (Row("a", None, "x", at_most=2), Row("a", float("nan"), "x", at_most=2), Row("a", 3.0, "x")):
        assert nothing.verdict == ""
    assert str(ROW).split() == "training | step 1.23 x >= 0.95 ok n 5, min 1.10, by a b".split()
    assert "12,346" in str(Row("a", 12345.6, "images/s"))


def test_a_row_comes_back_from_json() -> None:
    assert from_json(to_json(ROW)) == ROW
    # JSON knows no such number.
    assert to_json(Row("a", float("nan"), "x", details={"b": float("inf")}))["value"] is None


def test_spread_has_both_ends_and_n() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"min": 1.0, "max": 3.0, "n": 3}


def test_a_failing_measurement_becomes_a_row_and_leaves_nothing_behind(
    two_measurements: None, setting: Setting, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Path.cwd()
    good, failed = suite.measure(suite.MEASUREMENTS[1], setting)
    assert good == ROW and failed.value is None
    assert failed.details == {"failed": "CommandError: it ended with 3"}
    assert "Traceback" in capfd.readouterr().err
    assert Path.cwd() == place and "LEFT_BEHIND" not in os.environ and not list(setting.scratch.iterdir())


def test_one_command_measures_all_and_prints_rows_and_a_table(
    two_measurements: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "figures.json"
    entry.main(["--quick", "--json", str(report)])
    printed = capsys.readouterr().out
    assert printed.count(str(ROW)) == 4 and printed.count("it ended with 3") == 2 and "a machine" in printed
    found = figures.read(report)
    assert figures.rows(found["good"]) == [ROW] and found["good"]["mode"] == "--quick"


def test_pieces_are_merged_by_name(two_measurements: None, tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    figures.write(
        report, {"good": figures.to_entry(ABOUT, "--full", 1, []), "other": figures.to_entry(ABOUT, "--full", 1, [])}
    )
    entry.main(["--full", "--only", "good", "--json", str(report)])
    found = figures.read(report)
    assert set(found) == {"good", "other"} and figures.rows(found["good"]) == [ROW] and not found["other"]["rows"]


def test_an_interrupted_run_keeps_what_it_has(
    two_measurements: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(setting: Setting) -> Iterator[Row]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Measurement, "find", lambda self: {"good": one_row, "bad": interrupted}[self.name])
    report = tmp_path / "figures.json"
    with pytest.raises(KeyboardInterrupt):
        entry.main(["--full", "--json", str(report)])
    assert set(figures.read(report)) == {"good"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--quick"),
        (["--quick", "--full"], "not allowed"),
        (["--quick", "--only", "nonsense"], "nonsense: not among good, bad"),
        (["--gpu", "--only", "good"], "good: not among"),
        (["--quick", "--json", __file__], "holds no figures"),
        (["--docs", __file__], "holds no figures"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_measured(
    two_measurements: None, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        entry.main(arguments)
    assert refusal.value.code == 2 and named in capsys.readouterr().err


def test_figures_are_rendered_as_one_table_a_machine() -> None:
    slow = Row("slow", 2.0, "x", at_most=1.2, details={"n": 3})
    here = figures.to_entry(ABOUT, "--full", 1, [ROW, slow])
    there = figures.to_entry(
        ABOUT | {"machine": "a GPU"}, "--gpu", 1, [Row("broken", None, "", details={"failed": "x"})]
    )
    text = figures.render({"a": here, "b": here, "c": there})
    assert text.count("| what | result | target |") == 2 and "\n\n\n" not in text
    assert "| training \\| step | 1.23 x (n 5, min 1.10, by a b) | >= 0.95: met |" in text
    assert "| slow | 2.00 x (n 3) | &lt;= 1.2: missed |" in text
    assert "| broken | - (failed x) |  |" in text
    assert "a machine, 2 threads (load 0.1 to 0.1 before each); torch 9; by `RESNET_CLI_ASSETS=... python" in text


def test_the_page_keeps_all_but_its_figures() -> None:
    measurements = {"a": figures.to_entry(ABOUT, "--full", 1, [ROW])}
    page = f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n"
    made = figures.update(page, measurements)
    assert made == f"before\n{figures.BEGIN}\n{figures.render(measurements)}{figures.END}\nafter\n"
    assert figures.update(made, measurements) == made
    with pytest.raises(figures.FiguresError, match="no <!-- figures"):
        figures.update("nothing", measurements)


def test_the_page_shows_the_committed_figures() -> None:
    page = figures.PAGE.read_text(encoding="utf-8")
    measurements = figures.read(figures.FIGURES)
    assert measurements and set(measurements) <= set(NAMES)
    assert figures.update(page, measurements) == page


def test_a_command_is_measured_without_the_memory_of_who_starts_it() -> None:
    held = b"1" * 150_000_000
    seconds, peak, text = run(sys.executable, "-I", "-S", "-c", "print('here')", env=dict(os.environ))
    assert text == "here\n" and seconds > 0 and 1_000_000 < peak < 100_000_000 < len(held)
    with pytest.raises(CommandError, match="ended with 3: why"):
        run(sys.executable, "-c", "import sys; sys.stderr.write('why'); sys.exit(3)", env=dict(os.environ))
    assert launch(sys.executable, "-c", "raise SystemExit(2)", env=dict(os.environ), exit_code=2).stdout == ""


def test_a_quick_look_leaves_the_long_ones_out_unless_they_are_named() -> None:
    quick, full = (suite.choose(["cpu"], quick=is_quick) for is_quick in (True, False))
    assert set(quick) < set(full) == {found for found in MEASUREMENTS if found.group == "cpu"}
    long = next(found for found in full if not found.in_quick)
    assert suite.choose(["cpu"], quick=True, only=[long.name]) == [long]


def test_growth_compares_the_most_images_with_fewer() -> None:
    spent = [growth.Spent(100, 11.0, 50), growth.Spent(1_000, 20.0, 60), growth.Spent(5_000, 60.0, 66)]
    time, memory = growth.to_rows("eval", spent)
    assert time.value == pytest.approx(0.6) and time.details["slope"] == pytest.approx(1.0)
    assert memory.value == pytest.approx(1.1) and memory.details["100"] == "0.00 GB"


def test_the_tables_of_engines_show_the_committed_figures() -> None:
    entry = figures.read(figures.FIGURES)[engine_table.NAME]
    for page, is_short in engine_table.PAGES.items():
        text = page.read_text(encoding="utf-8")
        assert engine_table.update(text, entry, is_short=is_short) == text
    with pytest.raises(figures.FiguresError, match="no <!-- engines"):
        engine_table.update("nothing", entry, is_short=True)


def test_an_engine_that_refuses_a_file_has_a_row_that_says_why() -> None:
    about = {"engine": "Fast 1.2", "file": "model.onnx"}
    seen = {"same class": 9, "photos": 10, "largest difference": 0.5, "processes": 3, "MB": 94.1}
    loaded = Row("Fast", 33.4, "ms", details=about | seen | {"largest difference of a first answer": 1e-6})
    other = Row("Fast", 20.0, "ms", details=loaded.details | {"file": "model.int8.onnx"})
    refused = Row("Slow", None, "ms", details=about | {"engine": "Slow 1.2", "refused": "no | operator\nIf"})
    entry = figures.to_entry(ABOUT, "--full", 1, [loaded, other, refused])
    full, short = (engine_table.render(entry, is_short=is_short) for is_short in (False, True))
    line = "| Fast 1.2 | `model.onnx` | 9 of 10 | 5.0e-01 | 1.0e-06 | 33 | 94.1 |"
    assert line in full and "| Slow 1.2 | `model.onnx` | refused: no \\| operator If |  |  |  |  |" in full
    assert line in short and "int8" in full and "int8" not in short and "Slow" not in short
