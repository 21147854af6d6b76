"""What a reader of the figures must know before believing them."""

from collections.abc import Iterator

from training.evaluation.evaluation import Evaluation
from training.evaluation.provenance import Provenance

FEW_REALS = 100
"""With fewer, one percent of them is less than one video."""


def warnings_of(evaluation: Evaluation, provenance: Provenance) -> list[str]:
    """Why the figures mean nothing, or less than they seem to; plain sentences."""
    return [*_of_model(provenance), *_of_data(evaluation)]


def _of_model(provenance: Provenance) -> Iterator[str]:
    checkpoint = provenance.checkpoint
    if checkpoint is None:
        yield "Which model gave these scores is not known: the table of scores came without its results file."
    elif not checkpoint.trained:
        yield "The model is untrained. These figures mean nothing; they show that the evaluation works."
    elif checkpoint.debug:
        yield "The checkpoint is of a debug run. These figures mean nothing; they show that the evaluation works."


def _of_data(evaluation: Evaluation) -> Iterator[str]:
    figures = evaluation.videos.figures
    reals = figures["n"] - figures["positives"]
    unusable = evaluation.unusable_count
    if not figures["n"]:
        yield "No video could be scored, so there is no figure."
    elif unusable:
        yield f"{unusable} of {unusable + figures['n']} videos could not be scored. The figures are over the rest."
    if figures["tpr_at_1fpr"] is not None and reals < FEW_REALS:
        yield f"TPR at 1 % FPR: of {reals} real videos, 1 % is less than one, so none is accused at that TPR."
