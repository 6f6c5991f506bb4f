"""What is measured: a function for each row of the table, in ``ROWS``, a dict you can read.

Nothing here keeps a result: every time holds the work of all its texts, tokenising included.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import nlpkit
from nlpkit.bench.bench import TRIED, Bench, faster, ran_with, reason
from nlpkit.bench.compare import cosines
from nlpkit.bench.contest import Contender
from nlpkit.bench.results import Check, Row, Runs, Spread
from nlpkit.bench.roofline import flops
from nlpkit.bench.sides import Side, SideError, first_call
from nlpkit.bench.texts import token_counts
from nlpkit.errors import InputError, NlpkitError
from nlpkit.suites import find_suites

#: Texts that a side reads before a time of single calls counts.
WARM = 20
#: Batch size where memory is compared: a small one, which is kind to those who pad.
MEMORY_BATCH = 8
#: Sizes of growth from here on are run once, smaller ones three times.
ONCE = 10_000
MEGABYTE = 1e6


def ner(bench: Bench) -> Row:
    texts = bench.texts.news(bench.sizes.news)
    title = f"ner, a list of {len(texts):,} news texts"
    return bench.race("ner", title, "ner", texts, {"transformers": (5, 8)})


def analyze(bench: Bench) -> Row:
    texts = bench.texts.news(bench.sizes.news)
    title = f"analyze, {len(texts):,} news texts"
    row = bench.race("analyze", title, "analyze", texts, {"transformers": (12, 20)})
    row.details["tasks"] = ", ".join(["ner", *bench.classes, "embedding"])
    return row


def embed(bench: Bench) -> Row:
    texts = bench.texts.news(bench.sizes.news)
    asked = {
        "sentence-transformers": (2.8, 4.5),
        "sentence-transformers-openvino": (1.0, 1.4),
    }
    return bench.race("embed", f"embed, {len(texts):,} news texts", "embed", texts, asked)


def answer(bench: Bench) -> Row:
    pairs = bench.texts.pairs(bench.sizes.pairs)
    title = f"answer, {len(pairs):,} questions each with its paragraph"
    return bench.race("answer", title, "answer", pairs, {})


def short(bench: Bench) -> Row:
    """Short texts, for which what is not arithmetic weighs most."""
    texts = bench.texts.short(bench.sizes.news)
    return bench.race("short", f"ner, {len(texts):,} short texts", "ner", texts, {})


def share(bench: Bench) -> Row:
    """What part of the machine each side uses: work that the texts need, over time and rate."""
    texts = bench.texts.mixed(bench.sizes.mixed)
    row = bench.race("share", f"embed, {len(texts):,} texts of mixed length", "embed", texts, {})
    work = flops(bench.config, token_counts(bench.encoder, texts), bench.window)
    rates, n_tokens = bench.roofline.rates, row.details["tokens"]
    sides: dict[str, Runs] = {}
    for name, runs in row.sides.items():
        reached = runs.figures["tokens/s"].times(work / n_tokens)
        shares = {f"of {p}": reached.times(1 / rate) for p, rate in rates.items()}
        figures = {**runs.figures, "GFLOP/s": reached.times(1e-9), **shares}
        sides[name] = replace(runs, figures=figures)
    checks = row.checks
    if "int8" in rates:
        title = "share of this machine's int8 matrix rate, texts of mixed length"
        checks = (
            Check(title, sides["nlpkit"].figures["of int8"], "of the rate", 0.4, 0.6),
            *checks,
        )
    return replace(row, sides=sides, checks=checks)


def independence(bench: Bench) -> Row:
    """The same texts alone, together and in another order; and how far from fp32."""
    bench.tell("independence: each text alone and in company")
    kit = nlpkit.load(bench.model, bench.device, bench.precision)
    n = bench.sizes.alike
    texts = [*bench.texts.mixed(n // 2), *bench.texts.short(n - n // 2)]
    together = kit.analyze(texts)
    turned = kit.analyze(texts[::-1])[::-1]
    alone = [kit.analyze(text) for text in texts]
    apart, scores, same = 0.0, 0.0, 0
    for one, *others in zip(together, alone, turned, strict=True):
        for other in others:
            apart = max(apart, float(np.abs(one.embedding - other.embedding).max()))
            scores = max(scores, _scores_apart(one, other))
        same += all(_labels(one) == _labels(other) for other in others)
    del together, turned, alone
    exact = nlpkit.load(bench.model, bench.device, "fp32").embed(texts)
    near = cosines(kit.embed(texts), exact)
    mean, worst = float(near.mean()), float(near.min())
    largest = max(apart, scores)
    return Row(
        "independence",
        f"{len(texts):,} texts alone, together and in another order, {kit.precision}",
        checks=(
            Check(
                "largest difference of a component or score, alone or in company",
                Spread(largest, largest, largest),
                "",
                0.005,
                0.0,
                at_most=True,
            ),
            Check("cosine to fp32", Spread(mean, worst, 1.0), "(mean, worst)", 0.997, 0.999),
        ),
        details={
            "embedding components apart": apart,
            "scores apart": scores,
            "texts with the same labels each time": f"{same} of {len(texts)}",
            "precision": kit.precision,
            "engine": kit.engine.name,
        },
    )


def latency(bench: Bench) -> Row:
    """Calls with one short text each, one after the other."""
    texts = bench.texts.short(bench.sizes.short)
    file = bench.file("latency", texts)
    row = Row(
        "latency", f"ner of one short text, {len(texts):,} calls", details={"texts": len(texts)}
    )
    times: dict[str, list[list[float]]] = {}
    with _ready(bench, "ner", row) as contenders:
        for contender in contenders.values():
            contender.side.run("ner", file, min(WARM, len(texts)), each=True)
        for number in range(bench.sizes.rounds):
            for name, contender in contenders.items():
                bench.tell(f"latency: round {number + 1} of {bench.sizes.rounds}: {name}")
                called = contender.side.run("ner", file, len(texts), each=True)
                times.setdefault(name, []).append(called)
    medians = {name: [statistics.median(one) for one in rounds] for name, rounds in times.items()}
    for name, contender in contenders.items():
        late = [float(np.percentile(one, 95)) for one in times[name]]
        figures = {"p50, ms": Spread.of(medians[name]), "p95, ms": Spread.of(late)}
        figures = {key: value.times(1000) for key, value in figures.items()}
        contender.batch = 1
        row.sides[name] = Runs(figures, "ms", ran_with(contender))
    return replace(
        row, checks=faster("one short text, p50 latency of ner", medians, {"transformers": (4, 8)})
    )


def first(bench: Bench) -> Row:
    """New processes, from their start to their first answer; files are in the page cache."""
    file = bench.file("first", bench.texts.short(1))
    row = Row("first", f"a new process to its first ner, {bench.sizes.starts} times")
    starts: dict[str, Callable[[], float]] = {
        "nlpkit": partial(
            first_call, Side.command_of_nlpkit(), {}, bench.settings, "ner", file, "nlpkit"
        )
    }
    for peer in bench.able("ner"):
        try:
            command, models = bench.command(peer, "ner")
        except NlpkitError as error:
            row.refused[peer.name] = reason(error, peer.name)
            continue
        settings = bench.peer_settings(peer)
        starts[peer.name] = partial(first_call, command, models, settings, "ner", file, peer.name)
    times: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(bench.sizes.starts + 1):  # the first fills the page cache
        for name, start in starts.items():
            if name in row.refused:
                continue
            bench.tell(f"first: start {number} of {bench.sizes.starts}: {name}")
            try:
                seconds = start()
            except SideError as error:
                if name == "nlpkit":
                    raise
                row.refused[name] = reason(error, name)
                del times[name]
            else:
                times[name] += [seconds] if number else []
    for name, seconds_of in times.items():
        row.sides[name] = Runs({"seconds": Spread.of(seconds_of)}, "s")
    asked = {"transformers": (8.0, 15.0)}
    return replace(row, checks=faster("import and first ner, a new process", times, asked))


def resident(bench: Bench) -> Row:
    """Memory of a process with four tasks that has read some texts with each."""
    n = bench.sizes.memory
    file = bench.file("memory", bench.texts.news(n))
    title = f"resident memory with {2 + len(bench.classes)} tasks, after {n:,} news texts"
    row = Row("memory", title)
    found: dict[str, dict[str, int]] = {}
    for name, loaded in _one_by_one(bench, "analyze"):
        bench.tell(f"memory: {name}")
        try:
            with loaded as side:
                side.run("analyze", file, n, MEMORY_BATCH)
                found[name] = side.memory()
                figures = {
                    f"{key}, MB": Spread.of([value / MEGABYTE])
                    for key, value in found[name].items()
                }
                row.sides[name] = Runs(
                    figures, "MB", ran_with(Contender(side, "analyze", MEMORY_BATCH))
                )
        except NlpkitError as error:
            if name == "nlpkit":
                raise
            row.refused[name] = reason(error, name)
    ours = found["nlpkit"]["resident"]
    checks = [Check(title, Spread.of([ours / MEGABYTE]), "MB", 300, 200, at_most=True)]
    for name, theirs in found.items():
        if name != "nlpkit":
            floor, aim = (3, 5) if name == "transformers" else (None, None)
            value = Spread.of([theirs["resident"] / ours])
            what = "resident memory, a model for each task"
            checks.append(Check(what, value, "times less", floor, aim, against=name))
    return replace(row, checks=tuple(checks))


def length(bench: Bench) -> Row:
    """One long text against the short texts that it is made of, and against windows of it."""
    text, parts = bench.texts.one(bench.sizes.long_tokens, bench.encoder)
    n_tokens = len(bench.encoder.encode([text])[0])
    whole = bench.file("length-whole", [text], for_peers=False)
    cut = bench.file("length-parts", parts, for_peers=False)
    rounds: dict[str, list[float]] = {"one text": [], "its parts": []}
    with bench.nlpkit() as side:
        side.run("ner", cut, min(WARM, len(parts)))
        for number in range(bench.sizes.rounds):
            bench.tell(f"length: round {number + 1} of {bench.sizes.rounds}")
            rounds["one text"] += side.run("ner", whole, 1)
            rounds["its parts"] += side.run("ner", cut, len(parts))
        facts = ran_with(Contender(side, "ner"))
    value = Spread.of([b / a for a, b in zip(rounds["one text"], rounds["its parts"], strict=True)])
    return Row(
        "length",
        f"ner, one text of {n_tokens:,} tokens, and the {len(parts):,} texts it is made of",
        {
            name: Runs({"tokens/s": Spread.of(seconds).under(n_tokens)}, "", facts)
            for name, seconds in rounds.items()
        },
        (
            Check(
                "tokens/s of one long text, as a share of many texts'",
                value,
                "of the rate",
                0.8,
                0.95,
            ),
        ),
        details={"tokens": n_tokens, "texts": len(parts)},
    )


def heads(bench: Bench) -> Row:
    """Many classification heads (copies of one) in the pass that one needs."""
    texts = bench.texts.news(bench.sizes.heads)
    file = bench.file("heads", texts, for_peers=False)
    most = bench.sizes.grow_heads[-1]
    rounds: dict[str, list[float]] = {"heads:1": [], f"heads:{most}": []}
    with bench.nlpkit() as side:
        for task in rounds:
            side.run(task, file, min(WARM, len(texts)))
        for number in range(bench.sizes.rounds):
            for task, seconds in rounds.items():
                bench.tell(f"heads: round {number + 1} of {bench.sizes.rounds}: {task}")
                seconds += side.run(task, file, len(texts))
        facts = ran_with(Contender(side, "heads"))
    one, many = rounds.values()
    value = Spread.of([b / a for a, b in zip(one, many, strict=True)])
    return Row(
        "heads",
        f"{most} classification heads in one pass, {len(texts):,} news texts",
        {
            f"{task.removeprefix('heads:')} heads": Runs(
                {"texts/s": Spread.of(seconds).under(len(texts))}, "", facts
            )
            for task, seconds in rounds.items()
        },
        (Check(f"time of {most} heads, in times of 1", value, "times", 1.3, 1.1, at_most=True),),
    )


def accuracy(bench: Bench) -> Row:
    """The main score of every test suite in each precision, less that in fp32, in points."""
    if bench.texts.data is None:
        raise InputError("accuracy needs the data sets: set NLPKIT_DATA to their folder")
    exact = nlpkit.load(bench.model, "cpu", "fp32")
    suites = list(find_suites(["test"]))
    scores: dict[str, dict[str, float]] = {}
    kits = {"fp32": exact} | {
        kit.engine.precision: kit
        for kit in (_loaded(bench, p) for p in ("auto", "bf16", "int8"))
        if kit
    }
    for precision, kit in kits.items():
        for suite in suites:
            bench.tell(f"accuracy: {suite.name} in {precision}")
            measured = suite.run(kit, bench.sizes.accuracy)
            scores.setdefault(precision, {})[suite.name] = 100 * next(
                iter(measured.scores.values())
            )
    checks = []
    for precision, found in scores.items():
        if precision == "fp32":
            continue
        lost = {
            suite.name: (scores["fp32"][suite.name] - found[suite.name])
            * (1 if suite.higher_is_better else -1)
            for suite in suites
        }
        worst = max(lost, key=lambda name: lost[name])
        title = f"{precision}: largest loss of a suite ({worst}), in points"
        value = Spread(lost[worst], min(lost.values()), lost[worst])
        checks.append(Check(title, value, "points", 0.5, 0.2, at_most=True))
    shown = bench.sizes.accuracy
    return Row(
        "accuracy",
        f"the main scores of the test suites, first {shown:,} examples"
        if shown
        else "all examples",
        {
            precision: Runs({name: Spread.of([score]) for name, score in found.items()}, "points")
            for precision, found in scores.items()
        },
        tuple(checks),
    )


def growth(bench: Bench) -> Row:
    """Time as the work grows: more texts, longer texts, more heads."""
    row = Row("growth", "time as the work grows")
    sizes = bench.sizes
    for plot, task, steps in (
        ("texts", "ner", sizes.grow_texts),
        ("tokens of one text", "ner", sizes.grow_tokens),
        ("heads", "heads", sizes.grow_heads),
    ):
        row.curves[plot] = {}
        row.details[f"stopped, {plot}"] = {}
        row.details[f"peak memory, MB, {plot}"] = {}
        for name, loaded in _one_by_one(bench, task, long=plot.startswith("tokens")):
            try:
                with loaded as side:
                    line = row.curves[plot].setdefault(name, [])
                    contender = _at_best(bench, side, task)
                    for x in steps:
                        if _too_long(line, x, sizes.patience) and name != "nlpkit":
                            why = f"above {sizes.patience:.0f} s from {x:,} on"
                            row.details[f"stopped, {plot}"][name] = why
                            break
                        bench.tell(f"growth: {name}, {x:,} {plot}")
                        line.append((float(x), _grown(bench, contender, plot, x)))
                    peak = round(side.memory()["peak"] / MEGABYTE)
                    row.details[f"peak memory, MB, {plot}"][name] = peak
            except NlpkitError as error:
                if name == "nlpkit":
                    raise
                row.refused[f"{name}, {plot}"] = reason(error, name)
    return row


def gpu_embed(bench: Bench) -> Row:
    return _on_gpu(bench, "gpu-embed", "embed")


def gpu_analyze(bench: Bench) -> Row:
    return _on_gpu(bench, "gpu-analyze", "analyze")


#: Every row by name, in the order of the table.
ROWS: dict[str, Callable[[Bench], Row]] = {
    "ner": ner,
    "analyze": analyze,
    "embed": embed,
    "share": share,
    "independence": independence,
    "latency": latency,
    "first": first,
    "memory": resident,
    "length": length,
    "heads": heads,
    "accuracy": accuracy,
    "gpu-embed": gpu_embed,
    "gpu-analyze": gpu_analyze,
    "answer": answer,
    "short": short,
    "growth": growth,
}


# -- helpers -------------------------------------------------------------------------------------


@contextmanager
def _ready(bench: Bench, task: str, row: Row) -> Iterator[dict[str, Contender]]:
    """nlpkit and every able peer, loaded; those that cannot be are refused."""
    with ExitStack() as stack:
        contenders = {}
        for name, loaded in _one_by_one(bench, task):
            bench.tell(f"{row.name}: {name} gets ready")
            try:
                contenders[name] = Contender(stack.enter_context(loaded), task)
            except NlpkitError as error:
                if name == "nlpkit":
                    raise
                row.refused[name] = reason(error, name)
        yield contenders


def _one_by_one(bench: Bench, task: str, **settings: Any) -> Iterator[tuple[str, Any]]:
    """nlpkit and every able peer by name, each to be started by ``with``."""
    yield "nlpkit", bench.nlpkit()
    for peer in bench.able(task):
        yield peer.name, bench.peer(peer, task, **settings)


def _scores_apart(a: Any, b: Any) -> float:
    """The largest difference of two analyses' scores."""
    pairs = [(x.score, y.score) for x, y in zip(a.entities, b.entities, strict=False)]
    for name, labels in a.labels.items():
        theirs = {label.name: label.score for label in b.labels[name]}
        pairs += [(label.score, theirs[label.name]) for label in labels]
    return max((abs(x - y) for x, y in pairs), default=0.0)


def _labels(found: Any) -> Any:
    entities = [(e.start, e.end, e.label) for e in found.entities]
    return entities, {name: labels[0].name for name, labels in found.labels.items() if labels}


def _loaded(bench: Bench, precision: str) -> Any:
    """The model in a precision, or None where it cannot be had here."""
    try:
        return nlpkit.load(bench.model, "cpu", precision)
    except NlpkitError:
        return None


def _at_best(bench: Bench, side: Side, task: str) -> Contender:
    """A side with the batch size that suits it on news texts."""
    contender = Contender(side, "heads:1" if task == "heads" else task)
    peer = next((peer for peer in bench.peers if peer.name == side.name), None)
    if peer is not None:
        n = min(TRIED, bench.sizes.news)
        contender.choose_batch(bench.file("growth-batch", bench.texts.news(n)), n, peer.batches)
    return contender


def _grown(bench: Bench, contender: Contender, plot: str, x: int) -> float:
    """The median seconds of a side at one size."""
    n = 1
    if plot == "texts":
        texts, n = bench.texts.news(x), x
    elif plot == "heads":
        texts = bench.texts.news(bench.sizes.heads)
        contender.task, n = f"heads:{x}", len(texts)
    else:
        texts = [bench.texts.one(x, bench.encoder)[0]]
    is_peer = contender.side.name != "nlpkit"
    file = bench.file(f"growth-{plot.split()[0]}-{x}", texts, for_peers=is_peer)
    contender.run(file, min(n, WARM))
    return statistics.median(contender.run(file, n) for _ in range(1 if x >= ONCE else 3))


def _too_long(line: Sequence[tuple[float, float]], x: int, patience: float) -> bool:
    """Whether a size would take too long, as the last one did (work grows at least as fast)."""
    return bool(line) and line[-1][1] * x / line[-1][0] > patience


def _on_gpu(bench: Bench, name: str, task: str) -> Row:
    """On a GPU: against sentence-transformers' embedding in bf16, and the bf16 matrix rate."""
    if bench.gpu == "none":
        raise InputError("there is no GPU here that torch can use")
    on_gpu = replace(bench, device="cuda", precision="bf16")
    texts = bench.texts.mixed(bench.sizes.gpu)
    asked = {"sentence-transformers": (1.5, 3.0)}
    title = f"{task} on {bench.gpu}, bf16, {len(texts):,} texts of mixed length"
    row = on_gpu.race(name, title, task, texts, asked, peer_task="embed")
    work = flops(bench.config, token_counts(bench.encoder, texts), bench.window)
    rate = on_gpu.roofline.rates["bf16"]
    reached = row.sides["nlpkit"].figures["tokens/s"].times(work / row.details["tokens"] / rate)
    check = Check(
        f"{task} on a GPU: share of its bf16 matrix rate", reached, "of the rate", 0.2, 0.4
    )
    details = {**row.details, "bf16, TFLOP/s": round(rate / 1e12, 1)}
    return replace(row, checks=(*row.checks, check), details=details)
