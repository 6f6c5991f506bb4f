"""How each task of a pipeline is scored on labelled examples.

The texts go in one by one as a user's would, in lists only for speed: a text's result does not
depend on what else is in its list. Every function gives a :class:`Measured`: scores with their
intervals, the details behind them, and the worst errors.
"""

from nlpkit.scoring.answers import ask, score_answers, score_refusals, weigh
from nlpkit.scoring.base import Kit, Measured, Progress, in_chunks, mean, silent
from nlpkit.scoring.classes import score_classes, score_label_sets
from nlpkit.scoring.entities import score_entities, tags_of
from nlpkit.scoring.ranking import score_rankings, score_similarities

__all__ = [
    "Kit",
    "Measured",
    "Progress",
    "ask",
    "in_chunks",
    "mean",
    "score_answers",
    "score_classes",
    "score_entities",
    "score_label_sets",
    "score_rankings",
    "score_refusals",
    "score_similarities",
    "silent",
    "tags_of",
    "weigh",
]
