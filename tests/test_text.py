"""Numbers and names as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.text import (
    duration,
    first_of,
    join_labels,
    percent,
    percent_range,
    shorten_path,
    size,
    split_labels,
    wrap_prose,
)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(999, "999 B"), (1_000, "1.0 kB"), (56_400_000, "56 MB"), (3_210_000_000, "3.2 GB"), (5 * 10**15, "5,000 TB")],
)
def test_sizes_are_readable(num_bytes: int, text: str) -> None:
    assert size(num_bytes) == text


def test_a_share_is_not_called_all_or_nothing_unless_it_is() -> None:
    assert [percent(share) for share in (0, 0.0004, 0.5, 0.9996, 1)] == [
        "0.0 %",
        "0.04 %",
        "50.0 %",
        "99.96 %",
        "100.0 %",
    ]


@given(st.floats(0, 1))
def test_only_all_and_nothing_look_so(share: float) -> None:
    text = percent(share)
    assert (text == "0.0 %") == (share == 0) and (text == "100.0 %") == (share == 1)
    assert len(text) <= 7
    bound = float(text.strip("<> %")) / 100
    assert share < bound if "<" in text else share > bound if ">" in text else abs(share - bound) <= 5.01e-4


def test_a_range_has_one_unit() -> None:
    assert percent_range(0.9174, 0.98249) == "91.7 to 98.2 %"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119.4, "119 s"), (120, "2 min"), (5_399, "90 min"), (5_400, "1.5 h")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_long_list_ends_with_the_number_of_what_is_not_shown() -> None:
    assert [first_of(["a", "b", "c"], at_most) for at_most in (2, 3, 4)] == ["a, b and 1 more", "a, b, c", "a, b, c"]
    assert first_of(["a"] * 2001, 1) == "a and 2,000 more"


@given(st.lists(st.text(min_size=1), unique=True))
def test_labels_of_a_cell_are_read_back(labels: list[str]) -> None:
    assert split_labels(join_labels(labels)) == tuple(labels)


def test_labels_of_a_cell_are_easy_to_read() -> None:
    assert join_labels(["hot dog", "a,b"]) == "hot dog;a,b"
    assert join_labels([]) == ""
    assert join_labels(["a;b"]) == '["a;b"]'
    with pytest.raises(ValueError, match="not a list of names"):
        split_labels("[1]")


def test_a_long_path_keeps_its_name_then_the_folders_near_it() -> None:
    path = "/data/photos/animals/dogs/0001.jpg"
    shown = [shorten_path(path, width) for width in (34, 30, 20, 10, 8, 7)]
    expected = [path, "…/photos/animals/dogs/0001.jpg", "/data…/dogs/0001.jpg", "…/0001.jpg", "0001.jpg", "000…jpg"]
    assert shown == expected
    assert shorten_path("a" * 30 + ".jpg", 10) == "aaaaa….jpg"


def test_sentences_break_between_words_and_paths_and_commands_do_not() -> None:
    path = "/a/very/long/path/that/is/wider/than/the/terminal/photo.jpg"
    text = (
        f"{path}: cannot read it; repeat it with: resnet-cli finetune photos --on-bad-image skip, or without 'my file'"
    )
    lines = wrap_prose(text, 40, first=7, indent=7).split("\n")
    assert lines == [
        f"{path}:",
        "       cannot read it; repeat it with:",
        "       resnet-cli finetune photos --on-bad-image skip,",
        "       or without 'my file'",
    ]
    assert " ".join(" ".join(lines).split()) == text
    assert wrap_prose("short  text", 40) == "short  text"


@given(st.text("ab cd", max_size=80), st.integers(5, 40))
def test_a_wrapped_text_has_the_same_words_and_fits_unless_a_word_does_not(text: str, width: int) -> None:
    wrapped = wrap_prose(text, width)
    assert wrapped.split() == text.split()
    assert all(len(line.rstrip()) <= width or len(line.split()) == 1 for line in wrapped.split("\n"))
