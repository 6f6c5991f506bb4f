"""README.md of an exported folder: where it is from, how to use it, what it lacks, its terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlpkit.errors import DISTRIBUTION
from nlpkit.heads import PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.heads.span import N_WEIGHED
from nlpkit.text import N_SHAPES, SHAPES
from nlpkit.version import library_version


@dataclass(frozen=True, slots=True)
class Origin:
    """What an exported folder holds and where it is from."""

    bundle: str
    bundle_sha256: str
    task: str
    head: Any
    library: str
    architecture: str
    word_shapes: bool
    window: int
    max_length: int
    terms: str | None
    sources: Sequence[Mapping[str, Any]]
    pack: str | None


def readme(origin: Origin) -> str:
    """The whole file."""
    kind = _KINDS[type(origin.head)]
    parts = [
        _front_matter(origin, kind.tag),
        f"# {origin.pack or origin.bundle}: {origin.task}",
        _introduction(origin),
        "## Use",
        f"```python\n{_example(origin, kind.example)}```",
        *([_word_shapes(kind.batch)] if origin.word_shapes else []),
        "## What is not the same as in nlpkit",
        "\n".join(f"- {line}" for line in [*kind.differences(origin), *_all_differences(origin)]),
        *_data(origin),
        "## Terms",
        origin.terms.strip()
        if origin.terms
        else f"{origin.bundle} comes without terms of its own: ask who made it before you pass "
        "this folder on.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(origin: Origin, tag: str) -> str:
    lines = [f"library_name: {origin.library}", f"pipeline_tag: {tag}", "tags: [nlpkit]"]
    if origin.terms:
        lines += ["license: other", "license_link: WEIGHTS-LICENSE"]
    return "\n".join(["---", *lines, "---"])


def _introduction(origin: Origin) -> str:
    pack = f"the task pack `{origin.pack}` on " if origin.pack else ""
    labels = () if isinstance(origin.head, SpanHead) else getattr(origin.head, "labels", ())
    named = f" Labels: {', '.join(f'`{label}`' for label in labels)}." if labels else ""
    return (
        f"The task `{origin.task}` of {pack}nlpkit's bundle `{origin.bundle}` (its bundle.json has "
        f"SHA-256 `{origin.bundle_sha256}`), as a plain `{origin.architecture}` in float32. Written"
        f" by `nlpkit export` of {DISTRIBUTION} {library_version()}; no code comes with it and none"
        f" is needed to load it.{named}"
    )


def _example(origin: Origin, template: str) -> str:
    lines = template.format(
        threshold=_threshold(origin.head),
        activation="sigmoid" if getattr(origin.head, "multi_label", False) else "softmax",
    ).splitlines(keepends=True)
    return "".join(line for line in lines if origin.word_shapes or "add_word_shapes" not in line)


def _threshold(head: Any) -> str:
    """That of "no answer", on the scale of the exported logits."""
    return f"{head.threshold / head.temperature:.6g}" if isinstance(head, SpanHead) else ""


def _word_shapes(batch: str) -> str:
    numbered = ", ".join(f"{i} `{name}`" for i, name in enumerate(SHAPES))
    return f"""## Word shapes

This model learned to read the shape of each word (its capitals and digits) from its token types: `token_type_ids` are segment * {N_SHAPES} + shape, the same for all tokens of a word; special tokens and padding have shape 0. The shapes: {numbered}. A plain tokenizer gives 0 everywhere (1 in the second text of a pair), as if all words were in lower case: the model loads and runs, but its results are worse.

`pip install {DISTRIBUTION}` has both ways to give them: `add_word_shapes` as above, after which pipelines take the tokenizer like any other, and arrays for a whole batch:

```python
from nlpkit.export import model_inputs

inputs = model_inputs(folder, {batch})
print({{name: array.shape for name, array in inputs.items()}})
```"""  # noqa: E501


def _all_differences(origin: Origin) -> Iterable[str]:
    yield (
        "The weights are those of the bundle in float32. Where nlpkit computes in another "
        "precision (bf16, int8), its results differ by what that precision costs."
    )
    if getattr(origin.head, "temperature", 1.0) != 1.0:
        yield "The head's temperature is part of the output layer here: scores are as in nlpkit."


def _token_differences(origin: Origin) -> list[str]:
    lines = [
        "nlpkit finds the best *legal* sequence of tags (no `I-X` without a `B-X` or `I-X` before "
        'it), one tag a word, that of its first token; `aggregation_strategy="first"` takes each '
        "word's best tag alone.",
        f"nlpkit reads a text of any length in overlapping windows of {origin.window} tokens; the "
        f"pipeline cuts at {origin.max_length} unless it is given a `stride`.",
    ]
    if origin.head.transitions:
        lines.append(
            "nlpkit adds to a tag's logit what it is worth after the tag before it: the head's "
            "`transitions` in the bundle's `bundle.json`, divided by its `temperature`."
        )
    if origin.head.agreement:
        lines.append(
            "nlpkit reads capitalised words that a text repeats alike: of the log-probability of "
            f"a word's type, {origin.head.agreement:g} comes from the mean over its places."
        )
    return lines


def _sequence_differences(origin: Origin) -> list[str]:
    lines = [
        f"nlpkit reads a text of any length in windows of {origin.window} tokens and averages "
        f"their logits; this model reads {origin.max_length} tokens, and a pipeline fails beyond "
        "unless it is called with `truncation=True`.",
    ]
    if origin.head.dense is None:
        lines.append(
            "nlpkit's head has no layer before its output. The pooler here scales by a small power "
            "of two, which `tanh` leaves alone, and the classifier scales back: load it as it is, "
            "but don't fine-tune the pooler from there without setting it anew."
        )
    return lines


def _span_differences(origin: Origin) -> list[str]:
    lines = [
        f"The format has no place for the no-answer threshold, {_threshold(origin.head)} on "
        "the scale of the logits here: there is no answer where start + end at `[CLS]`, less the "
        "threshold, is more than the best span's.",
        "nlpkit lets an answer begin and end at word borders only, and reads a long context in "
        "overlapping windows.",
    ]
    if origin.head.consensus or origin.head.length_cost:
        lines.append(
            f"Of the {N_WEIGHED} best spans nlpkit takes {origin.head.length_cost:g} off the "
            "logits for each word after the first, and quotes the one with the highest p: "
            f"{1 - origin.head.consensus:.2g} times its probability and "
            f"{origin.head.consensus:.2g} times its expected F1 against all of them."
        )
    for line, over in (
        (origin.head.calibration, 'an answer\'s probability p over all spans and "no answer"'),
        (origin.head.refusal_calibration, 'the probability p of "no answer" over the same'),
        (origin.head.span_calibration, "an answer's over spans alone (`no_answer=False`)"),
    ):
        if line is not None:
            term = f"{line[0]:.6g} * log(p / (1 - p)) {line[1]:+.6g}"
            lines.append(
                f"nlpkit's scores are calibrated: of {over} it makes 1 / (1 + exp(-({term})))."
            )
    return lines


def _pooling_differences(origin: Origin) -> list[str]:
    return [
        "nlpkit embeds a text of any length, as the mean over all its tokens; sentence-transformers"
        f" cuts at {origin.window} tokens (`max_seq_length`).",
        "An empty text is zeros in nlpkit, here the embedding of its special tokens.",
        "The pooler of `BertModel` is the identity, and no part of the embedding.",
    ]


def _data(origin: Origin) -> list[str]:
    """What the bundle's training names as its sources; a pack's are its own."""
    if not origin.sources:
        return []
    rows = dict.fromkeys(
        " | ".join(str(source.get(key, "")) for key in ("tasks", "name", "licence", "address"))
        for source in origin.sources
    )
    own = f" The pack `{origin.pack}` learned from data of its own." if origin.pack else ""
    table = ["| task | data | terms | from |", "| --- | --- | --- | --- |"]
    return [
        "## Training data",
        f"All tasks of the bundle shaped its backbone.{own} No text of theirs is in this folder.",
        "\n".join([*table, *(f"| {row} |" for row in rows)]),
    ]


# -- the kinds of head ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a README.md says of one kind of head.

    ``example`` is Python, a template of str.format; ``batch`` a value for ``model_inputs``.
    """

    tag: str
    example: str
    batch: str
    differences: Callable[[Origin], Iterable[str]]


_TAGS = """\
from nlpkit.export import add_word_shapes
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
add_word_shapes(tokenizer)
model = AutoModelForTokenClassification.from_pretrained(folder)
tag = pipeline(
    "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first"
)
for entity in tag("Ada Lovelace lived in London."):
    print(entity["entity_group"], entity["start"], entity["end"], entity["score"])
"""

_CLASSES = """\
from nlpkit.export import add_word_shapes
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
add_word_shapes(tokenizer)
model = AutoModelForSequenceClassification.from_pretrained(folder)
classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
for label in classify("Great phone, poor battery.", top_k=None):  # scores by {activation}
    print(label["label"], label["score"])
"""

_ANSWERS = """\
import torch
from nlpkit.export import add_word_shapes
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
add_word_shapes(tokenizer)
model = AutoModelForQuestionAnswering.from_pretrained(folder)

question, context = "Who lived in London?", "Ada Lovelace lived in London."
inputs = tokenizer(question, context, return_offsets_mapping=True, return_tensors="pt")
offsets = inputs.pop("offset_mapping")[0].tolist()
with torch.no_grad():
    outputs = model(**inputs)
scores = outputs.start_logits[0][:, None] + outputs.end_logits[0]  # of each span, start by end
inside = torch.tensor([part == 1 for part in inputs.sequence_ids(0)])
spans = (inside[:, None] & inside).triu().tril(30)
start, end = divmod(int(scores.masked_fill(~spans, -torch.inf).argmax()), len(inside))
if scores[0, 0] - ({threshold}) > scores[start, end]:
    print("no answer")
else:
    print(context[offsets[start][0] : offsets[end][1]])
"""

_VECTORS = """\
from nlpkit.export import add_word_shapes
from sentence_transformers import SentenceTransformer

folder = "."  # where this file lies
model = SentenceTransformer(folder)
add_word_shapes(model.tokenizer)
vectors = model.encode(["engines that fly", "an aeroplane"])
print(model.similarity(vectors[0], vectors[1]))
"""

_TEXTS = '["Ada Lovelace lived in London.", "Great phone."]'
_PAIRS = '[("Who lived in London?", "Ada Lovelace lived in London.")]'

_KINDS: dict[type[Any], _Kind] = {
    TokenHead: _Kind("token-classification", _TAGS, _TEXTS, _token_differences),
    SequenceHead: _Kind("text-classification", _CLASSES, _TEXTS, _sequence_differences),
    SpanHead: _Kind("question-answering", _ANSWERS, _PAIRS, _span_differences),
    PoolingHead: _Kind("sentence-similarity", _VECTORS, _TEXTS, _pooling_differences),
}
