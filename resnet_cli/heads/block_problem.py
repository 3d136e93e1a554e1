"""Linear heads on features that do not fit into memory: each evaluation of the loss reads them from disk in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_cli.engines.feature_rows import BLOCK_ROWS, AnyFeatures, blocks
from resnet_cli.heads.logistic import make_optimizer
from resnet_cli.heads.standardization import VARIANCE_FLOOR, fold_standardization, not_finite
from resnet_cli.system.intraop import ThreadTuner

#: Logits [b x k], targets and the weight of each row [b] -> the sum of the losses.
BlockLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Rows that are converted to float64 at once.
_EXACT_ROWS = 512


class BlockProblem:
    """Rows of features, and the weights of a head that is fitted to them in standardized form.

    The blocks are the same and in the same order each time, and so are the results.

    Args:
        features: Features [n x 2048] of any float dtype.
        targets: Their targets.
        rows: Positions of the rows that are used, int64 [u].
        copies: How often each of them counts in mean and standard deviation, int64 [u].
        weights: Weight of the loss of each of them [u].
        num_classes: Number of classes, k.
        loss: Loss of a block.
        device: Device to compute on.
        tuner: Chooses the number of threads.

    Attributes:
        head: Head for standardized features, on the device.
        mean: Mean of each feature [2048].
        std: Floored standard deviation of each feature [2048].

    Raises:
        DivergedError: A feature is not a finite number.
    """

    def __init__(
        self,
        features: AnyFeatures,
        targets: Tensor,
        *,
        rows: NDArray[np.int64],
        copies: NDArray[np.int64],
        weights: Tensor,
        num_classes: int,
        loss: BlockLoss,
        device: str,
        tuner: ThreadTuner,
    ) -> None:
        self._features, self._targets, self._rows, self._weights = features, targets, rows, weights
        self._loss, self._device, self._tuner = loss, device, tuner
        mean, std = moments(features, rows, copies)
        self.mean, self.std = mean.float().to(device), std.float().to(device)
        self.head = nn.Linear(features.shape[1], num_classes, device=device)

    def start_from(self, head: nn.Linear) -> None:
        """Takes the weights of a head for features that are not standardized."""
        weight, mean, std = head.weight.double(), self.mean.cpu().double(), self.std.cpu().double()
        with torch.no_grad():
            self.head.weight.copy_(weight * std)
            self.head.bias.copy_(head.bias.double() + weight @ mean)

    def fit(self, l2: Tensor) -> None:
        """Minimizes the loss, starting from the current weights.

        Args:
            l2: The penalty of each class [k].
        """
        head, penalties = self.head, l2.to(self._device)[:, None]
        optimizer = make_optimizer(head)

        def objective() -> Tensor:
            optimizer.zero_grad()
            penalty = (penalties * head.weight.square()).sum() / 2
            penalty.backward()  # type: ignore[no-untyped-call]
            total = penalty.detach().double()
            for inputs, targets, weights in self._blocks():
                loss = self._loss(head(inputs), targets, weights)
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
            return total

        with self._tuner.held():
            optimizer.step(objective)  # type: ignore[no-untyped-call]

    def logits(self, features: AnyFeatures) -> Tensor:
        """Logits of other features, [m x k] on the CPU."""
        with torch.inference_mode():
            # A block of a tensor is a view, and must not be changed.
            parts = (rows.clone() if isinstance(features, Tensor) else rows for rows in blocks(features))
            return torch.cat([self.head(self._standardized(rows)).cpu() for rows in parts])

    def scored_blocks(self) -> Iterator[tuple[Tensor, Tensor, NDArray[np.int64]]]:
        """Logits, targets and positions among ``rows`` of all blocks, on the CPU."""
        for start in range(0, len(self._rows), BLOCK_ROWS):
            at = self._rows[start : start + BLOCK_ROWS]
            with torch.inference_mode():
                yield (
                    self.head(self._standardized(self._features[at])).cpu(),
                    self._targets[at],
                    np.arange(start, start + len(at)),
                )

    def raw_head(self, scale: float = 1.0) -> nn.Linear:
        """A copy of the head for raw features, on the CPU, its logits multiplied by ``scale``."""
        folded = fold_standardization(self.head, self.mean, self.std)
        assert isinstance(folded, nn.Linear)
        with torch.no_grad():
            folded.weight.mul_(scale)
            folded.bias.mul_(scale)
        return folded

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for start in range(0, len(self._rows), BLOCK_ROWS):
            at = self._rows[start : start + BLOCK_ROWS]
            yield (
                self._standardized(self._features[at]),
                self._targets[at].to(self._device),
                self._weights[start : start + BLOCK_ROWS].to(self._device),
            )

    def _standardized(self, features: Tensor) -> Tensor:
        """Standardizes a block in place, if it is in float32."""
        return features.to(self._device, torch.float32).sub_(self.mean).div_(self.std)


def moments(
    features: AnyFeatures, rows: NDArray[np.int64], copies: NDArray[np.int64] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and floored standard deviation of each feature in one pass, float64 [2048] both.

    They are sums in float64 of differences from the first row: without it, the squares of a large mean would hide a
    small variance.

    Args:
        features: Features [n x 2048] of any float dtype.
        rows: Positions of the rows that count.
        copies: How often each of them counts; None: once.

    Raises:
        DivergedError: A feature is not a finite number.
    """
    counts = torch.ones(len(rows), dtype=torch.float64) if copies is None else torch.from_numpy(copies).double()
    shift = features[rows[:1]][0].double()
    first, second = torch.zeros_like(shift), torch.zeros_like(shift)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = features[rows[start : start + BLOCK_ROWS]].cpu()
        for part, weight in zip(
            torch.split(block, _EXACT_ROWS),
            torch.split(counts[start : start + BLOCK_ROWS], _EXACT_ROWS),
            strict=True,
        ):
            exact = part.double() - shift
            first += weight @ exact
            second += weight @ exact.square_()
    first, second = first / counts.sum(), second / counts.sum()
    if not bool(torch.isfinite(second).all()):
        raise not_finite()
    variance = (second - first.square()).clamp_min(0)
    return shift + first, (variance + VARIANCE_FLOOR * variance.mean()).sqrt().clamp_min(1e-6)
