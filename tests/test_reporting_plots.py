from __future__ import annotations

import dataclasses
import itertools
import math
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.synthetic_reports import epoch_record

from resnet_cli.errors import DiskError
from resnet_cli.history import EpochRecord
from resnet_cli.reporting import palette
from resnet_cli.reporting.charts import axis
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.figures import DPI, Heading, Plot, font_families
from resnet_cli.reporting.matrix_plots import add_matrix, confusion_matrix, plot_matrix
from resnet_cli.reporting.plots import draw_charts
from resnet_cli.reporting.prediction_plot import Tile, plot_predictions
from resnet_cli.text import display_width, row_shares, shorten

HOSTILE = ["[red]x[/red]", r"$\frac$", "🐝 蜜蜂", "n" * 200, "a\nb\x1b[31m", "\udcff_", "", "$x_"]


def png_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def colors_of(path: Path) -> dict[str, int]:
    """Number of pixels of each color."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {"#" + bytes(color.tolist()).hex(): int(num) for color, num in zip(found, counts, strict=True)}


def diagonal(num_classes: int, count: int = 9) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.eye(num_classes, dtype=np.int64) * count + 1


def curve(num_epochs: int) -> list[EpochRecord]:
    return [epoch_record(e, 1 / e, 1.2 / e, 1 - 0.5 / e, 1 - 0.4 / e) for e in range(1, num_epochs + 1)]


def plot_curves(points: Sequence[EpochRecord], path: Path, *, best_epoch: int | None = None) -> None:
    draw_charts(curve_charts(points, best_epoch), path)


def plot_confusion(counts: np.ndarray[Any, Any], names: Sequence[str], path: Path) -> None:
    plot_matrix(confusion_matrix(counts, names), path)


@pytest.fixture
def plots(monkeypatch: pytest.MonkeyPatch) -> list[Plot]:
    """The plots that were saved, for looking inside."""
    saved: list[Plot] = []
    save = Plot.save

    def spy(self: Plot, path: Path) -> None:
        saved.append(self)
        save(self, path)

    monkeypatch.setattr(Plot, "save", spy)
    return saved


def texts(plot: Plot) -> list[str]:
    return [text.get_text() for text in plot.figure.texts]


@pytest.mark.parametrize("num_epochs", [1, 2, 10, 100])
def test_curves_have_one_size_whatever_the_number_of_epochs(tmp_path: Path, num_epochs: int) -> None:
    plot_curves(curve(num_epochs), tmp_path / "curves.png")
    width, height = png_size(tmp_path / "curves.png")
    assert 1200 < width < 1500 and 450 < height < 750


def test_curves_mark_the_epoch_that_was_kept_and_count_epochs_in_whole_numbers(
    tmp_path: Path, plots: list[Plot]
) -> None:
    points = [epoch_record(1, 1, 1, 0.5), epoch_record(2, 1, 0.7, 0.8), epoch_record(3, 1, 0.9, 0.9)]
    plot_curves(points, tmp_path / "curves.png")
    plot_curves(points, tmp_path / "curves.png", best_epoch=1)
    marks = [plot.figure.axes[0].texts[0].get_text() for plot in plots]
    assert marks == ["kept epoch 2", "kept epoch 1"]
    assert all(tick == round(tick) for tick in plots[0].figure.axes[0].get_xticks())


def test_the_loss_that_is_drawn_is_the_one_that_chose_the_epoch() -> None:
    points = [dataclasses.replace(record, val_fitted_loss=1 / record.val_loss) for record in curve(4)]
    _, validation = curve_charts(points)[0].lines
    heights = [dot.y for dot in validation.dots]
    assert validation.name == "validation, calibrated" and heights == sorted(heights)
    assert "kept epoch 1" in curve_charts(points)[0].summary


def test_train_top1_has_a_line_only_where_it_is_known(tmp_path: Path, plots: list[Plot]) -> None:
    plot_curves([epoch_record(1, 1, 1, 0.5)], tmp_path / "without.png")
    plot_curves(curve(3), tmp_path / "with.png")
    legends = [plot.figure.axes[1].get_legend() for plot in plots]
    assert [len(legend.get_texts()) for legend in legends if legend is not None] == [1, 2]


def test_curves_with_infinite_and_nan_values_are_drawn(tmp_path: Path) -> None:
    points = [*curve(2), epoch_record(3, math.nan, math.inf, math.nan)]
    plot_curves(points, tmp_path / "some.png")
    plot_curves(points[2:], tmp_path / "none.png")
    assert png_size(tmp_path / "some.png") and png_size(tmp_path / "none.png")


def test_curves_without_an_epoch_or_with_an_unknown_best_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no epoch"):
        plot_curves([], tmp_path / "curves.png")
    with pytest.raises(ValueError, match="epoch 7"):
        plot_curves(curve(2), tmp_path / "curves.png", best_epoch=7)


@pytest.mark.parametrize(("num_classes", "least", "most"), [(1, 850, 1300), (2, 850, 1300), (100, 2100, 3100)])
def test_confusion_plot_grows_with_the_classes(tmp_path: Path, num_classes: int, least: int, most: int) -> None:
    names = [f"class {index}" for index in range(num_classes)]
    plot_confusion(diagonal(num_classes), names, tmp_path / "confusion.png")
    assert all(least < side < most for side in png_size(tmp_path / "confusion.png"))


def test_every_name_is_shown_up_to_100_classes_and_the_figure_stops_growing_there(
    tmp_path: Path, plots: list[Plot]
) -> None:
    sizes = []
    for num_classes in (100, 250, 1000):
        plot_confusion(diagonal(num_classes), [f"c{i}" for i in range(num_classes)], tmp_path / "c.png")
        sizes.append(png_size(tmp_path / "c.png"))
    names = [sum(text.startswith("c") and "→" not in text for text in texts(plot)) for plot in plots]
    # Each name is at its row and at its column.
    assert names == [2 * 100, 2 * 84, 2 * 100]
    assert max(np.ptp(sizes, axis=0)) < 60


@pytest.mark.parametrize("num_classes", [2, 10, 20, 21])
def test_counts_stand_in_the_cells_of_up_to_20_classes(tmp_path: Path, plots: list[Plot], num_classes: int) -> None:
    plot_confusion(diagonal(num_classes), [f"c{i}" for i in range(num_classes)], tmp_path / "c.png")
    assert texts(plots[0]).count("10") == (num_classes if num_classes <= 20 else 0)
    assert any("c0 → c1" in text for text in texts(plots[0])) == (num_classes > 20)


def test_cells_are_wide_enough_for_their_counts(tmp_path: Path, plots: list[Plot]) -> None:
    plot_confusion(diagonal(10, 1_234_567), list("abcdefghij"), tmp_path / "c.png")
    counts = [text for text in plots[0].figure.texts if text.get_text() == "1234568"]
    lefts = sorted(text.get_window_extent().x0 for text in counts)
    cell = (lefts[-1] - lefts[0]) / 9
    assert len(counts) == 10 and max(text.get_window_extent().width for text in counts) < cell


def test_a_matrix_and_its_legend_stay_inside_their_part_of_a_slide() -> None:
    plot = Plot(13.6, 7)
    names = ["english_springer", "garbage_truck", "gas_pump", "church", "chain_saw", "french_horn", "cassette_player"]
    add_matrix(plot, confusion_matrix(diagonal(7), names), (4.0, 1.0, 4.5, 5.5))
    edges = [extent.get_window_extent() for extent in plot.figure.texts]
    assert min(edge.x0 for edge in edges) >= 4.0 * DPI and max(edge.x1 for edge in edges) <= 8.5 * DPI


@pytest.mark.slow
def test_right_and_wrong_cells_have_the_colors_of_the_page_and_a_single_mistake_among_many_is_visible(
    tmp_path: Path,
) -> None:
    def colors(num_classes: int) -> set[str]:
        counts = np.eye(num_classes, dtype=np.int64) * 9
        counts[0, 0], counts[0, num_classes - 1] = 0, 1
        plot_confusion(counts, [f"c{i}" for i in range(num_classes)], tmp_path / "c.png")
        return {color for color, num in colors_of(tmp_path / "c.png").items() if num > 30}

    for num_classes in (2, 1000):
        assert {palette.RIGHT_FILL.light, palette.WRONG_FILL.light, palette.WELL.light} <= colors(num_classes)


def test_a_class_without_images_neither_warns_nor_divides_by_zero(tmp_path: Path) -> None:
    confusion = np.array([[3, 1], [0, 0]])
    shares = row_shares(confusion, ["a", "b"])
    np.testing.assert_array_equal(shares, [[0.75, 0.25], [np.nan, np.nan]])
    plot_confusion(confusion, ["a", "b"], tmp_path / "c.png")
    plot_confusion(np.zeros((3, 3), int), ["a", "b", "c"], tmp_path / "c.png")


def test_a_matrix_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) for 3 classes"):
        plot_confusion(diagonal(2), ["a", "b", "c"], tmp_path / "c.png")
    with pytest.raises(ValueError, match="0 classes"):
        plot_confusion(np.zeros((0, 0), int), [], tmp_path / "c.png")


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, plots: list[Plot]) -> None:
    plot_confusion(diagonal(len(HOSTILE)), HOSTILE, tmp_path / "c.png")
    assert {*HOSTILE[:3], "a\ufffdb\ufffd[31m"} <= set(texts(plots[0]))
    width, height = png_size(tmp_path / "c.png")
    assert width < 1500 and height < 1500
    tiles = [Tile(np.zeros((9, 9, 3), np.uint8), *names, 0.5) for names in zip(HOSTILE, HOSTILE[::-1], strict=True)]
    plot_predictions(tiles, tmp_path / "p.png", Heading("$\\frac$", *HOSTILE[1:3]))


def test_characters_that_no_font_has_cause_no_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ["ants", "蜜蜂", "ミツバチ", "꿀벌", "نحلة", "דבורה", "मधुमक्खी", "ผึ้ง", "🐝"]
    plot_confusion(diagonal(len(names)), names, tmp_path / "c.png")
    assert capfd.readouterr() == ("", "")
    assert font_families(names[:1]) == ["DejaVu Sans"] == font_families([])
    assert font_families(names)[0] == "DejaVu Sans"


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (1, 300, 3), (500, 333, 3)])
def test_images_of_any_size_fit_the_grid(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    plot_predictions([Tile(image, "b", "a", 0.5)] * 7, tmp_path / "grid.png")
    width, height = png_size(tmp_path / "grid.png")
    assert 2200 < width < 2400 and height < 500


def test_right_and_wrong_are_told_apart_by_words_signs_and_colors(tmp_path: Path, plots: list[Plot]) -> None:
    tiles = [
        Tile(np.zeros((8, 8), np.uint8), "dog", "cat", 0.4),
        Tile(np.zeros((99, 99), np.uint8), "cat", "cat", 0.999),
        Tile(np.zeros((8, 8), np.uint8), "cat, dog", "cat", None),
    ]
    plot_predictions(tiles, tmp_path / "grid.png", Heading("2 of 3 predictions are wrong"))
    written = {text.get_text(): text.get_color() for text in plots[0].figure.texts}
    right, wrong = palette.RIGHT.light, palette.WRONG.light
    said = ["predicted dog (40 %)", "predicted cat (>99 %)", "predicted cat, dog"]
    assert set(said) | {"2 of 3 predictions are wrong"} <= set(written)
    assert (written["✗ is cat"], written["✓ right"], written["✗ has cat"]) == (wrong, right, wrong)
    seen = colors_of(tmp_path / "grid.png")
    # The frames of two wrong images, and of one right one.
    assert seen[wrong] > 1.5 * seen[right] > 0


def test_long_class_names_have_a_line_of_their_own(tmp_path: Path, plots: list[Plot]) -> None:
    name = "Staffordshire bullterrier"
    plot_predictions([Tile(np.zeros((8, 8), np.uint8), name, "cat", 0.4)], tmp_path / "grid.png")
    assert texts(plots[0]) == ["predicted (40 %)", name, "✗ is cat"]


def test_an_empty_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_predictions([], tmp_path / "grid.png")


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"before")

    def full(self: Image.Image, target: Path, *_: object, **__: object) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DiskError, match="No space left"):
        plot_curves(curve(2), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot write"):
        plot_curves(curve(2), tmp_path / "missing" / "curves.png")


def test_plotting_leaves_matplotlib_settings_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams.copy())
    plot_curves(curve(2), tmp_path / "curves.png")
    assert dict(matplotlib.rcParams.copy()) == before


@pytest.mark.parametrize("name", [*HOSTILE, "蜜" * 40, "e\u0301" * 40])
@pytest.mark.parametrize("width", [1, 2, 7, 24])
def test_shortened_names_fit_and_are_printable(name: str, width: int) -> None:
    short = shorten(name, width)
    assert display_width(short) <= width
    assert short.isprintable()


def test_shortened_names_keep_both_ends() -> None:
    assert shorten("n02085620-Chihuahua", 11) == "n0208…uahua"
    assert shorten("short", 5) == "short"


def test_an_axis_of_shares_ends_at_100_percent() -> None:
    bottom, top, ticks = axis([1.0, 1.0], is_share=True)
    assert top == pytest.approx(1) and bottom < 1 and ticks[-1].text == "100 %"
    assert axis([0.0, 1.0], is_share=True)[:2] == pytest.approx((0, 1))


def test_a_slow_machine_draws_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(perf_counter=itertools.count(step=10).__next__)
    monkeypatch.setattr("matplotlib.legend.time", clock)
    plot_curves(curve(3), tmp_path / "curves.png")
