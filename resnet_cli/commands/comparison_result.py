"""What a comparison of several models results in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from resnet_cli.commands.evaluate_file import seen_dict
from resnet_cli.evaluation.comparing import AnyComparison
from resnet_cli.evaluation.fail_under import check_fail_under
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.text import Summarized, share_or_dash
from resnet_cli.version import SCHEMA_VERSION


@dataclasses.dataclass(frozen=True, repr=False)
class ComparisonResult(Summarized):
    """Result of evaluating several models on the same images.

    Attributes:
        data: Name of the data set.
        split: Name of the split.
        found: Path and scores of each model.
        comparisons: The first model compared with each of the others.
        files: The page and the plot, if they were written.
    """

    data: str
    split: str
    found: tuple[tuple[str, Scores], ...]
    comparisons: tuple[AnyComparison, ...]
    files: tuple[Path, ...] = ()

    @property
    def written(self) -> list[tuple[str, str]]:
        """The files that were written, each with what it is for."""
        return list(zip(map(str, self.files), ("the comparison as a page", "its chart"), strict=False))

    def summary(self) -> dict[str, str]:
        """The main metric of each model, and how likely each difference is by chance."""
        facts = {"data": f"{self.data}, {self.split}"}
        facts |= {f"{scores.main[0]} of {name}": share_or_dash(scores.score) for name, scores in self.found}
        (first, _), *others = self.found
        for (name, _), one in zip(others, self.comparisons, strict=True):
            facts[f"{name} against {first}"] = one.in_words()
        return facts

    def check(self, fail_under: float | None) -> None:
        """Compares top-1 or mAP of every model with ``--fail-under``.

        Raises:
            VerificationError: That of a model is below it.
        """
        for name, scores in self.found:
            check_fail_under(scores, fail_under, name=f"{name}:")

    def to_dict(self) -> dict[str, Any]:
        """The object that ``eval MODEL MODEL --json`` prints."""
        (first, _), *others = self.found
        pairs = zip(others, self.comparisons, strict=True)
        return {
            "schema_version": SCHEMA_VERSION,
            "data": self.data,
            "split": self.split,
            "models": [{"model": name} | scores.to_dict() | seen_dict(scores) for name, scores in self.found],
            "comparisons": [{"first": first, "second": name} | one.to_dict() for (name, _), one in pairs],
            "written": list(map(str, self.files)),
        }
