"""The model card: the description of a registered model for its users (Mitchell et al., 2019)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.analysis.ensemble import Ensemble
from pipeline.analysis.intervals import wilson
from pipeline.config import Job
from pipeline.data.preprocessing import SCALINGS
from pipeline.data.raw import RawDataset
from pipeline.data.whitening import describe
from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.report.formatting import percent, points, show


def card(run: pd.Series[Any], job: Job, raw: RawDataset) -> str:
    """The model card of a run, in Markdown.

    Args:
        run: a row of `tabulate`.
        job: the configuration of the run.
        raw: the dataset of the run.
    """
    values = job.hyperparameters
    low, high = wilson(round(run["best_val_acc"] * run["num_val"]), int(run["num_val"]))
    test = "not measured" if pd.isna(run["test_acc"]) else percent(run["test_acc"])
    return "\n".join(
        [
            f"**Two-layer network for {job.data.name}**: {values.hidden_size} hidden units (ReLU), "
            f"softmax, trained in NumPy by {training_method(values)}.",
            "",
            f"- Data: {run['num_train']:,} training and {run['num_val']:,} validation rows, "
            f"digest `{run['dataset_digest']}`; {_preprocessing_of(raw)}.",
            f"- Accuracy: {percent(run['best_val_acc'])} of the validation rows (95 % interval "
            f"{percent(low)} to {percent(high)}; choosing the best model of a sweep inflates it); "
            f"test rows: {test}.",
            f"- Hyperparameters: λ={show(values.l2_reg)}, lr={show(values.learning_rate)}, decay "
            f"{show(values.learning_rate_decay)}, batch {values.batch_size}, best epoch "
            f"{run['best_epoch']} of {values.num_epochs}, seed {values.seed}, {values.dtype}.",
            *_use(raw),
        ]
    )


def ensemble_card(
    ensemble: Ensemble, sweep: str, chosen: pd.Series[Any], job: Job, raw: RawDataset
) -> str:
    """The model card of an ensemble, in Markdown.

    Args:
        ensemble: of a sweep.
        sweep: the ID of the sweep.
        chosen: the row of the best single model.
        job: its configuration.
        raw: the dataset of the sweep.
    """
    test = "not measured"
    if ensemble.test is not None:
        low, high = percent(ensemble.test.low), percent(ensemble.test.high)
        test = f"{percent(ensemble.test.accuracy)} (95 % interval {low} to {high})"
    members = [
        f"  - {percent(each.share)}: {each.name} (run `{each.run_id}`)" for each in ensemble.members
    ]
    return "\n".join(
        [
            f"**Ensemble of two-layer networks for {job.data.name}**: the mean of the "
            f"probabilities of {size_of(ensemble)}. Selected from the models of sweep {sweep} by "
            "greedy ensemble selection (Caruana et al., 2004).",
            "",
            f"- Data: {chosen['num_train']:,} training and {chosen['num_val']:,} validation rows, "
            f"digest `{chosen['dataset_digest']}`; {_preprocessing_of(raw)}.",
            f"- Accuracy: {percent(ensemble.oob_acc)} of the validation rows out of bag (95 % "
            f"interval {percent(ensemble.oob_low)} to {percent(ensemble.oob_high)}), "
            f"{points(ensemble.gain)} points against the best single model ("
            f"{points(ensemble.gain_low)} to {points(ensemble.gain_high)}); "
            f"{percent(ensemble.val_acc)} of all validation rows, which also selected the members; "
            f"test rows: {test}.",
            "- Members and their shares:",
            *members,
            *_use(raw),
        ]
    )


def size_of(ensemble: Ensemble) -> str:
    """The size and the cost of an ensemble in words."""
    return (
        f"{len(ensemble.members)} models with {ensemble.parameters:,} parameters and "
        f"{ensemble.multiply_adds:,} multiply-adds per prediction"
    )


def _use(raw: RawDataset) -> tuple[str, str]:
    """The input, the output and the limits of a model."""
    return (
        f"- Input: {_input_of(raw)}. Output: `class` and `probabilities`, in the order "
        f"{', '.join(raw.classes)}.",
        "- Limits: the model assigns one of these classes to any input. Its probabilities are "
        "not calibrated. Inputs that differ from the training data (for images: in size, "
        "position or brightness) are often classified wrongly.",
    )


def training_method(values: Hyperparameters) -> str:
    """The training method in words: mini-batch SGD, and each extension that a model uses."""
    used = [
        each.traits.method.format(show(getattr(values, name)))
        for name, each in HYPERPARAMETERS.items()
        if each.traits.method and getattr(values, name) != each.neutral
    ]
    if not used:
        return "plain mini-batch SGD"
    *first, last = used
    return f"mini-batch SGD with {', '.join(first)}{' and ' if first else ''}{last}"


def _preprocessing_of(raw: RawDataset) -> str:
    """Describe what happens to the rows before they reach the network."""
    return SCALINGS[raw.scaling] + ("" if raw.whiten is None else f"; {describe(raw.whiten)}")


def _input_of(raw: RawDataset) -> str:
    """Describe the input of the registered model."""
    if raw.encoder is not None:
        return f"a table with the columns {', '.join(map(str, raw.encoder.examples.columns))}"
    if raw.scaling == "pixels" and raw.image_shape is not None:
        shape = ", ".join(map(str, raw.image_shape))
        return f"images (n, {shape}) of raw pixels, whole numbers from 0 to {raw.largest}"
    shape = ", ".join(map(str, raw.image_shape or raw.train.rows.shape[1:]))
    return f"numbers (n, {shape})"
