"""``runs compare``: what differs between runs, their scores, and a paired test where the runs can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.commands.run_details import RunDetails, details_of
from resnet_cli.commands.run_images import obstacles, records_images, scored_images
from resnet_cli.commands.run_list import find_run
from resnet_cli.commands.run_summary import summarize
from resnet_cli.config.runs import CompareConfig
from resnet_cli.errors import ConfigError, ResnetCliError
from resnet_cli.system.paths import check_writable, refuse_existing
from resnet_cli.text import counted, model_letters, split_word
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from resnet_cli.commands.comparison_result import ComparisonResult
    from resnet_cli.commands.evaluate import OnEvalEvent

#: Settings that say nothing about the model: where it was trained, and where it was written.
_OF_MACHINE = frozenset(
    {
        "out",
        "device",
        "devices",
        "threads",
        "offline",
        "engine",
        "checkpoint_every",
        "tensorboard",
        "seeds",
        "made_by",
        "fail_under",
    }
)


@dataclasses.dataclass(frozen=True)
class RunComparison:
    """Several runs side by side.

    Attributes:
        runs: The runs, in the order in which they were named.
        letters: A short name of each: A, B, ...
        settings: Name of each setting that differs, and its value in each run; None where a run does not have it.
        num_same: Number of settings that are the same.
        obstacles: Why recorded scores cannot be compared directly, in sentences without a period; empty if they can.
        paired: The paired test, on images that all compared models can be evaluated on; None without one.
        paired_letters: The runs of the paired test, in its order.
        notes: Which runs are left out of the paired test and why, or why there is none.
        written: The page, if one was written.
    """

    runs: tuple[RunDetails, ...]
    letters: tuple[str, ...]
    settings: tuple[tuple[str, tuple[str | None, ...]], ...]
    num_same: int
    obstacles: tuple[str, ...]
    paired: ComparisonResult | None = None
    paired_letters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    written: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that ``runs compare --json`` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "runs": [
                {"letter": letter} | {key: value for key, value in run.to_dict().items() if key != "schema_version"}
                for letter, run in zip(self.letters, self.runs, strict=True)
            ],
            "settings": [{"name": name, "values": list(values)} for name, values in self.settings],
            "num_same_settings": self.num_same,
            "scores_are_comparable": not self.obstacles,
            "obstacles": list(self.obstacles),
            "paired": self.paired.to_dict() | {"letters": list(self.paired_letters)} if self.paired else None,
            "notes": list(self.notes),
            "page": None if self.written is None else str(self.written),
        }


def compare_runs(
    specs: Sequence[str], config: CompareConfig, *, on_event: OnEvalEvent = lambda _: None
) -> RunComparison:
    """Compares runs.

    Args:
        specs: At least two runs, as a user types them.
        config: Everything else.
        on_event: Called with the progress of the paired test.

    Raises:
        ConfigError: There is no such run, or it is the same run twice.
        DiskError: The page could not be written later.
    """
    if config.out is not None:
        refuse_existing(config.out)
        check_writable(config.out)
    paths = [find_run(spec) for spec in specs]
    if len(paths) < 2:
        raise ConfigError("one run cannot be compared", hint="name at least two: resnet-cli runs compare A B")
    for at, path in enumerate(paths):
        if any(path.samefile(other) for other in paths[:at]):
            raise ConfigError(f"{path} is named twice", hint="name different runs")
    runs = tuple(details_of(summarize(path)) for path in paths)
    letters = tuple(model_letters(len(runs)))
    settings, num_same = _differences(runs)
    scored = [scored_images(run.summary) for run in runs]
    found = RunComparison(runs, letters, settings, num_same, tuple(obstacles(scored, letters)))
    if not config.no_eval:
        found = _with_paired(found, [None if one is None else one.classes for one in scored], config, on_event)
    return found


def _differences(runs: Sequence[RunDetails]) -> tuple[tuple[tuple[str, tuple[str | None, ...]], ...], int]:
    """The settings that differ between runs, with their values; and the number of those that do not."""
    configs = [run.summary.config for run in runs]
    names = dict.fromkeys(name for config in configs for name in config if name not in _OF_MACHINE)
    differing, num_same = [], 0
    for name in names:
        # Older versions had fewer settings: nobody knows whether one that is not recorded differs.
        recorded = {config[name] for config in configs if name in config}
        if len(recorded) > 1:
            differing.append((name.replace("_", " "), tuple(config.get(name) for config in configs)))
        elif all(name in config for config in configs):
            num_same += 1
    for split, word in (("train", "training images"), ("val", "validation images"), ("test", "test images")):
        nums = tuple(f"{run.num_images[split]:,}" if split in run.num_images else None for run in runs)
        if len(set(nums)) > 1:
            differing.append((word, nums))
    return tuple(differing), num_same


def _with_paired(
    found: RunComparison, classes: Sequence[frozenset[str] | None], config: CompareConfig, on_event: OnEvalEvent
) -> RunComparison:
    """Adds the paired test of the first run and all that can be compared with it."""
    notes: list[str] = []
    chosen: list[int] = []
    for at, (letter, run) in enumerate(zip(found.letters, found.runs, strict=True)):
        if not run.summary.has_model:
            notes.append(f"{letter} is not in the paired test: it has no model")
        elif classes[at] is None:
            notes.append(f"{letter} is not in the paired test: its split.csv cannot be read")
        elif classes[at] != classes[0]:
            notes.append(f"{letter} is not in the paired test: its classes differ from those of {found.letters[0]}")
        else:
            chosen.append(at)
    if chosen[:1] != [0] or len(chosen) < 2:
        notes.append("there is no paired test: it needs the first run and another one with the same classes")
        return dataclasses.replace(found, notes=tuple(notes))
    reasons = []
    # The images of the first run; if they can no longer be read, those of the next one.
    for base in chosen:
        try:
            result = _paired(found, chosen, base, config=config, on_event=on_event)
        except ResnetCliError as error:
            reasons.append(f"no paired test on the images of {found.letters[base]}: {error.message}")
            continue
        letters = tuple(found.letters[at] for at in chosen)
        unrecorded = [found.letters[at] for at in chosen if not records_images(found.runs[at].summary)]
        notes.append(_basis(result, found.letters[base], unrecorded))
        return dataclasses.replace(found, paired=result, paired_letters=letters, notes=tuple(notes))
    return dataclasses.replace(found, notes=(*notes, *reasons))


def _basis(result: ComparisonResult, letter: str, unrecorded: Sequence[str]) -> str:
    """Which images the paired test uses.

    Args:
        result: The evaluation of all runs.
        letter: The run that held the images out.
        unrecorded: Runs of older versions, which recorded no hashes of their images.
    """
    num, split = result.found[0][1].num_images, split_word(result.split)
    text = f"the paired test uses {counted(num, f'{split} image'.strip())} of {letter}"
    if unrecorded:
        text += f"; {', '.join(unrecorded)} did not record the content of its images and may have been trained on some"
    else:
        text += "; no run was trained on them"
    return f"{text}, but they chose the epoch that a run kept" if result.split == "val" else text


def _paired(
    found: RunComparison, chosen: Sequence[int], base: int, *, config: CompareConfig, on_event: OnEvalEvent
) -> ComparisonResult:
    """Evaluates the chosen runs on the images of one of them, and compares the first with each of the others."""
    # Imported here, since they load torch.
    from resnet_cli.commands.evaluate import compare_models
    from resnet_cli.config.eval import EvalConfig
    from resnet_cli.evaluation.comparing import compare

    order = [base, *(at for at in chosen if at != base)]
    options = EvalConfig(device=config.device, offline=config.offline, no_report=True)
    result = compare_models([str(found.runs[at].summary.path) for at in order], None, options, on_event=on_event)
    scored = dict(zip(order, result.found, strict=True))
    pairs = tuple(scored[at] for at in chosen)
    tests = tuple(compare(pairs[0][1], one, num_compared=len(pairs) - 1) for _, one in pairs[1:])
    return dataclasses.replace(result, found=pairs, comparisons=tests)
