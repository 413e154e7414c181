"""The tables about the chosen model, as texts: its mistakes and its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.analysis.diagnostics import Diagnostics
from pipeline.analysis.features import REPEATS, Features
from pipeline.report.formatting import percent
from pipeline.report.tables import Table

WIDE = 20  # classes above which the confusion matrix is compact, and its largest entries are listed
CONFUSIONS = 20  # pairs of classes that are listed


def confusion_table(diagnostics: Diagnostics, classes: Sequence[str]) -> Table:
    """The confusion matrix with the recall of each class."""
    recalls = ["–" if recall is None else percent(recall) for recall in diagnostics.recalls]
    rows = [
        [name, *map(str, counts), recall]
        for name, counts, recall in zip(
            classes, diagnostics.confusion.tolist(), recalls, strict=True
        )
    ]
    return Table("confusion", ["class \\ predicted", *classes, "recall"], rows, [])


def confusions_table(diagnostics: Diagnostics, classes: Sequence[str]) -> Table:
    """The most frequent mistakes: a class, its prediction, and how often it occurs."""
    counts = diagnostics.confusion.copy()
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(place), len(classes)) for place in order if counts.flat[place]]
    header = ["class", "predicted", "examples", "share of the class"]
    rows = [
        [classes[i], classes[j], str(counts[i, j]), percent(counts[i, j] / totals[i])]
        for i, j in pairs
    ]
    return Table("confusions", header, rows, [])


def feature_tables(features: Features) -> list[tuple[str, Table]]:
    """The features with the largest weights, and the columns that matter most, with captions."""
    weights = [[each.feature, f"{each.size:.3g}"] for each in features.weights]
    shuffled = [
        [each.column, f"{100 * each.loss:.1f}", f"{100 * each.std:.1f}"]
        for each in features.permutations
    ]
    of_features = f"{len(weights)} of {features.num_features:,} features"
    of_columns = f"{len(shuffled)} of {features.num_columns:,} columns"
    return [
        (
            f"First-layer weights ({of_features}): the mean of |W1| over the hidden units, times "
            "the standard deviation of the feature in the training rows, which is 1 for "
            "standardised features.",
            Table("weights", ["feature", "mean |W1|"], weights, []),
        ),
        (
            f"Permutation importance ({of_columns}): the points of accuracy that the model loses "
            "on the validation rows if the values of one column are shuffled; the mean and the "
            f"standard deviation of {REPEATS} shuffles.",
            Table("permutation", ["column", "points lost", "std"], shuffled, []),
        ),
    ]
