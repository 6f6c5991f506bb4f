"""nlpkit bench: what it compares, what it refuses, and that its results are well-formed."""

from __future__ import annotations

import json
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from nlpkit.bench import sides
from nlpkit.bench.bench import QUICK, Bench
from nlpkit.bench.compare import agreement, labels_of
from nlpkit.bench.contest import Contender, take_turns, times_faster
from nlpkit.bench.plots import bars, growth, pictures
from nlpkit.bench.results import OTHER_RUN, Check, Results, Row, Runs, Spread
from nlpkit.bench.roofline import Roofline, bandwidth, flops, layer_rate
from nlpkit.bench.rows import ROWS
from nlpkit.bench.run import FAILED, read, run, write
from nlpkit.bench.sides import Peer, Side, SideError, find_peers, install
from nlpkit.bench.tables import BEGIN, END, markdown, short, update_page
from nlpkit.bench.texts import Texts, write_texts
from nlpkit.cli import app_main
from nlpkit.errors import InputError, JobError, UnknownNameError
from nlpkit.pipeline import Pipeline

TEXTS = ["Ada Lovelace lived in LONDON.", "Great phone.", "the old man built engines in PARIS"]
BERT = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLPKIT_DATA", raising=False)


@pytest.fixture
def bench(tiny_folder: Path, tmp_path: Path) -> Bench:
    return Bench(str(tiny_folder), tmp_path / "work", (), QUICK, precision="fp32")


# -- what is compared ----------------------------------------------------------------------------


def named(*entities: tuple[int, int, str]) -> dict[str, list[list[object]]]:
    """An output of ``ner`` whose tags are its entities."""
    found: list[list[object]] = [[*one] for one in entities]
    return {"entities": found, "tags": found}


def test_a_word_has_the_label_of_the_entity_that_reaches_into_it() -> None:
    words = [(0, 4), (5, 9), (10, 16)]
    assert labels_of(words, [[11, 15, "LOC"], [0, 9, "PER"]]) == ["PER", "PER", "LOC"]
    assert labels_of(words, []) == ["", "", ""]


def test_equal_outputs_agree() -> None:
    ours = {"ner": [named((0, 3, "PER"))], "topic": ["city"], "embed": np.ones((1, 4))}
    found = agreement(["Ada left."], ours, {**ours, "embed": np.full((1, 4), 2.0)})
    assert found.is_enough
    assert found.shares == {"labels": 1, "words of entities": 1, "topic": 1, "cosine": 1}


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({"ner": [named((0, 3, "PER"))]}, {"ner": [named((0, 3, "LOC"))]}, "labels 0.0000"),
        ({"ner": [named((0, 3, "PER"))]}, {"ner": [named()]}, "labels 0.0000"),
        ({"topic": ["city"]}, {"topic": ["art"]}, "topic 0.0000"),
        ({"answer": [[0, 3]]}, {"answer": [None]}, "answers 0.0000"),
        ({"embed": np.eye(1, 2)}, {"embed": np.array([[0.9, 0.2]])}, "cosine 0.97"),
        ({"embed": np.eye(1, 2)}, {"embed": np.array([[np.nan, 0]])}, "cosine nan"),
    ],
)
def test_outputs_that_differ_are_too_little(
    ours: dict[str, object], theirs: dict[str, object], said: str
) -> None:
    texts = [("Who?", "Ada left.")] if "answer" in ours else ["Ada left."]
    found = agreement(texts, ours, theirs)
    assert not found.is_enough
    assert said in found.too_little[0]


def test_vectors_are_held_against_those_in_fp32() -> None:
    """Two roundings, each near the truth, may be further from one another than is allowed."""
    exact = np.array([[1.0, 0.0]])
    ours, theirs = np.array([[1.0, 0.07]]), np.array([[1.0, -0.07]])
    assert not agreement([""], {"embed": ours}, {"embed": theirs}).is_enough
    assert agreement([""], {"embed": ours}, {"embed": theirs}, {"embed": exact}).is_enough


def test_different_tasks_are_not_compared() -> None:
    with pytest.raises(ValueError, match="expected the same tasks"):
        agreement(["a"], {"topic": ["x"]}, {"ner": [named()]})


# -- sides ---------------------------------------------------------------------------------------


def test_nlpkit_is_a_side(bench: Bench, own_kit: Pipeline, tmp_path: Path) -> None:
    """What it does in its process is what it does here."""
    file = bench.file("texts", TEXTS)
    with bench.nlpkit() as side:
        assert side.facts["precision"] == "fp32"
        contender = Contender(side, "analyze")
        found = bench.outputs(contender, file, 3, tmp_path / "kept")
        each = side.run("ner", file, 3, each=True)
        assert side.memory()["resident"] > 1e6
    assert len(each) == 3
    analyses = own_kit.analyze(TEXTS)
    entities = [[[e.start, e.end, e.label] for e in one.entities] for one in analyses]
    assert [one["entities"] for one in found["ner"]] == entities
    assert found["sentiment"] == [one.labels["sentiment"][0].name for one in analyses]
    np.testing.assert_allclose(found["embed"], [one.embedding for one in analyses], atol=1e-5)
    assert not list(tmp_path.glob("kept*")), "outputs are left behind"


def test_sides_take_turns(bench: Bench) -> None:
    file = bench.file("texts", TEXTS)
    with bench.nlpkit() as one, bench.nlpkit() as other:
        contenders = {"one": Contender(one, "ner"), "other": Contender(other, "ner")}
        contenders["other"].choose_batch(file, 3, (2, 4))
        told: list[str] = []
        take_turns(contenders, file, 3, 2, told.append)
    assert told == [f"round {i} of 2: {name}" for i in (1, 2) for name in ("one", "other")]
    assert all(len(contender.seconds) == 2 for contender in contenders.values())
    assert contenders["other"].batch in (2, 4)
    assert times_faster([1, 2], [3, 4]) == Spread(2.5, 2, 3)


def test_a_batch_size_is_chosen_by_its_best_turn(tmp_path: Path) -> None:
    """A turn that something else slowed down does not decide."""
    seconds = {2: iter([9.0, 1.0, 9.0]), 4: iter([2.0, 2.0, 2.0])}

    class Slowed(Side):
        def __init__(self) -> None:
            self.warm = False

        def run(self, task: str, texts: Path, n: int, batch: int = 32, **_: Any) -> Any:
            if not self.warm:
                self.warm = True
                return [5.0]
            return [next(seconds[batch])]

    contender = Contender(Slowed(), "ner")
    contender.choose_batch(tmp_path, 3, (2, 4))
    assert contender.batch == 2
    assert not [*seconds[2], *seconds[4]], "all turns were taken"


def test_a_side_says_why_it_cannot(bench: Bench) -> None:
    file = bench.file("texts", TEXTS)
    with Side.of_nlpkit() as side:
        with pytest.raises(SideError, match="nlpkit: UnknownNameError: unknown bundle 'absent'"):
            side.load({}, bench.settings | {"model": "absent"})
        side.load({}, bench.settings)
        with pytest.raises(SideError, match="unknown task 'nothing'"):
            side.run("nothing", file, 1)
        assert side.run("ner", file, 1)  # it goes on


def test_a_side_that_ends_is_told_with_its_last_words() -> None:
    with (
        Side("peer", [sys.executable, "-c", "raise SystemExit('no such library')"]) as side,
        pytest.raises(SideError, match=r"peer ended \(1\): no such library"),
    ):
        side.memory()


def test_peers_get_word_shapes_that_fit_their_tokens(bench: Bench, tmp_path: Path) -> None:
    file = write_texts(tmp_path / "texts.json", TEXTS, bench.encoder)
    content = json.loads(file.read_text())
    assert content["texts"] == TEXTS
    lengths = [len(encoded) for encoded in bench.encoder.encode(TEXTS)]
    assert [len(shapes) for shapes in content["shapes"]] == lengths
    pairs = json.loads(write_texts(file, [("Who?", "Ada.")], bench.encoder).read_text())
    assert [len(shapes) for shapes in pairs["shapes"][0]] == [
        len(encoded) for encoded in bench.encoder.encode(["Who?", "Ada."])
    ]


# -- a race against a peer -----------------------------------------------------------------------

#: A library that says what nlpkit says, or something else.
PEER = """
import sys
sys.path[:0] = {folders}
from protocol import serve
from nlpkit_side import Nlpkit

class Library(Nlpkit):
    def load(self, models, settings):
        return super().load(models, settings | {{"model": {model!r}, "precision": "fp32"}})

    def plain(self, task, texts, raw):
        found = super().plain(task, texts, raw)
        return {change}

serve(Library())
"""


@pytest.fixture
def peer(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bench]:
    """A setting with a peer; what it says of its outputs ``found`` is an expression."""

    def make(change: str) -> Bench:
        folder = tmp_path / "peers"
        folder.mkdir()
        for file in ("protocol.py", "nlpkit_side.py"):
            (folder / file).write_text((sides.side_folder() / file).read_text(encoding="utf-8"))
        # Sides start without PYTHONPATH; this one needs our packages, as nlpkit's does.
        script = PEER.format(folders=[str(folder), *sys.path], model=bench.model, change=change)
        (folder / "library.py").write_text(script, encoding="utf-8")
        monkeypatch.setattr(sides, "PEER_FOLDERS", (folder,))
        monkeypatch.setattr(Bench, "models", lambda self, task: {task: "unused"})
        bench.peers = [Peer("library", "none", "library.py", ("sentiment",), batches=(1, 2))]
        bench.python = Path(sys.executable)
        return bench

    return make


def test_a_peer_that_agrees_is_compared(peer: Callable[[str], Bench]) -> None:
    row = peer("found").race("r", "a race", "sentiment", TEXTS, {"library": (0.001, 1e6)})
    [check] = row.checks
    assert (check.against, check.reached) == ("library", "floor")
    assert check.value.low <= check.value.median <= check.value.high
    assert row.refused == {}
    assert "sentiment 1.0000" in row.sides["library"].agreement
    assert "batch" in row.sides["library"].ran_with


def test_a_peer_that_says_something_else_is_not_timed(peer: Callable[[str], Bench]) -> None:
    row = peer("['other'] * len(found)").race("r", "a race", "sentiment", TEXTS, {})
    assert row.checks == ()
    assert row.sides.keys() == {"nlpkit"}
    assert row.refused == {"library": "says something else: sentiment 0.0000, expected 0.99"}


def test_a_peer_that_breaks_is_named(peer: Callable[[str], Bench]) -> None:
    row = peer("1 / 0").race("r", "a race", "sentiment", TEXTS, {})
    assert row.refused == {"library": "ZeroDivisionError: division by zero"}


def test_a_peer_is_not_started_without_memory(
    peer: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "memory", lambda: (10**9, 10**8))
    row = peer("found").race("r", "a race", "sentiment", TEXTS, {})
    assert row.refused == {"library": "it needs about 0.8 GB of memory, 0.1 are free"}


# -- peers and environments ----------------------------------------------------------------------


def test_every_peer_has_a_side_and_pins() -> None:
    folder = sides.side_folder()
    for peer in find_peers("all"):
        compile((folder / peer.script).read_text(encoding="utf-8"), peer.script, "exec")
        lines = (folder / "requirements" / f"{peer.environment}.txt").read_text().split()
        assert lines, peer.name
        assert all("==" in line for line in lines), f"{peer.environment}: {lines}"
        assert "torch==2.13.0" in lines, "an unpinned torch brings gigabytes"


@pytest.mark.parametrize(("names", "message"), [("nobody", "unknown peer 'nobody'"), (",", "some")])
def test_unknown_peers_are_refused(names: str, message: str) -> None:
    with pytest.raises((UnknownNameError, InputError), match=message):
        find_peers(names)


def test_a_peer_that_cannot_be_installed_is_told_and_not_taken_for_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "PEER_FOLDERS", (tmp_path,))
    (tmp_path / "protocol.py").touch()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho ERROR: the disk is full >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    peer = Peer("library", "none", "library.py", ("ner",))
    with pytest.raises(JobError, match="library cannot be installed: ERROR: the disk is full"):
        install(peer, tmp_path)
    assert sides.python_of(peer, tmp_path) is None


def test_an_environment_that_is_there_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "none-env"
    venv.create(folder, with_pip=False)
    peer = Peer("library", "none", "library.py", ("ner",))
    assert sides.python_of(peer, tmp_path) is None, "half an environment"
    (folder / "complete").touch()
    assert install(peer, tmp_path) == folder / "bin" / "python"


# -- texts and the machine -----------------------------------------------------------------------


def test_texts_are_as_many_as_are_asked_for(bench: Bench) -> None:
    texts = Texts()
    for made in (texts.news(7), texts.short(7), texts.long(7), texts.mixed(7), texts.pairs(7)):
        assert len(made) == 7
    assert len(texts.news(5000)) == 5000
    assert texts.mixed(7) == Texts().mixed(7)
    text, parts = texts.one(500, bench.encoder)
    assert text == " ".join(parts)
    assert len(bench.encoder.encode([text])[0]) >= 500
    assert not set(texts.calibration(50)) & set(texts.news(50))


def test_data_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLPKIT_DATA", str(tmp_path))
    with pytest.raises(InputError, match="no ag_news"):
        Texts.found()


def test_real_texts(data_folder: Path) -> None:
    texts = Texts(data_folder)
    assert len(set(texts.news(1024))) > 1000
    assert all(question.endswith("?") for question, _ in texts.pairs(5))


def test_work_is_counted_by_the_token() -> None:
    """21.2 MFLOP a token in the matrices, and 4 * 384 * 6 more for each token that it looks at."""
    alone = flops(BERT, [1], 256)
    assert alone == 2 * 6 * (4 * 384**2 + 2 * 384 * 1536) + 4 * 384 * 6
    assert flops(BERT, [100], 256) == 100 * (alone + 99 * 4 * 384 * 6)
    assert flops(BERT, [1000], 256) == 1000 * (alone + 255 * 4 * 384 * 6)


def test_a_rate_is_that_of_the_layers_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tool that takes a second for each of n rows and multiplication, the rate is 2."""
    seconds = iter(float(x) for x in range(100))
    monkeypatch.setattr("nlpkit.bench.roofline.fastest", lambda call, _: call())

    def chain(n: int, widths: Sequence[int]) -> Callable[[], object]:
        next(seconds)
        return lambda: n * sum(a * b for a, b in pairwise(widths))

    assert layer_rate(BERT, chain, (8, 16), 0.1) == pytest.approx(2)


def test_the_bandwidth_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlpkit.bench.roofline.COPIED", 2**20)
    monkeypatch.setattr(
        "nlpkit.bench.roofline.fastest", lambda call, _: len(call()) / len(call()) / 2
    )
    assert bandwidth() == 2 * 2**20 * 2


# -- results -------------------------------------------------------------------------------------


@pytest.fixture
def results() -> Results:
    spread = Spread(6.0, 5.5, 7.25)
    ours = Runs({"texts/s": spread}, "", "onnx, fp32")
    checks = (
        Check("ner, a <list>", spread, "times as fast", 5, 8, against="library"),
        Check("memory", Spread.of([310.0]), "MB", 300, 200, at_most=True),
        Check("embed", spread, "times as fast", against="other"),
    )
    row = Row("ner", "ner", {"nlpkit": ours}, checks, {"absent": "not | installed"})
    lines = {"nlpkit": [(10.0, 0.5), (100.0, 5.0)], "library": [(10.0, 0.001)]}
    curves = Row("growth", "growth", curves={"texts": lines}, details={"peak": {"nlpkit": 80}})
    return Results({"processor": "A & B"}, {"texts": "made up"}, {"int8": 1}, (row, curves))


def test_a_check_knows_whether_it_is_reached(results: Results) -> None:
    assert [check.reached for check in results.rows[0].checks] == ["floor", "no", ""]


def test_results_survive_json(results: Results, tmp_path: Path) -> None:
    files = write(results, tmp_path)
    assert {file.name for file in files} == {
        *("speed.json", "speed.md", "speed-times.svg", "speed-growth-texts.svg")
    }
    assert read(tmp_path / "speed.json") == results


def test_a_file_that_holds_no_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"machine": 1}')
    with pytest.raises(InputError, match="holds no results"):
        read(tmp_path / "other.json")


def test_pictures_are_well_formed(results: Results) -> None:
    for name, picture in pictures(results):
        tree = ElementTree.fromstring(picture)
        assert tree.tag == "{http://www.w3.org/2000/svg}svg", name
        numbers = [
            float(value)
            for element in tree.iter()
            for key, value in element.attrib.items()
            if key in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height")
        ]
        assert all(0 <= number <= 1000 for number in numbers), name
    assert "&lt;list&gt;" in bars(results.rows[0].checks[:1])
    assert "polyline" in growth("texts", {"nlpkit": [(10.0, 1.0)]})


def test_tables_are_well_formed(results: Results) -> None:
    text = markdown(results, ["speed-times.svg"])
    assert "| ner, a <list>, against library | 6 (5.5 to 7.25) times as fast | at least 5 |" in text
    assert "| memory | 310 MB | at most 300 | 200 | **no** |" in text
    assert "- absent: not | installed" in text
    assert "| nlpkit | 0.5 s | 5 s |" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            columns = {line.replace("\\|", "").count("|") for line in block.strip().splitlines()}
            assert len(columns) == 1, block


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.99812, "0.9981"), (1234.5, "1,234"), (0.00002, "2.0e-05"), (5.678, "5.68")],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert short(value) == shown


def test_a_page_takes_the_tables_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update_page(page, r"a \1 table")
    update_page(page, r"a \1 table")
    assert page.read_text() == f"before\n{BEGIN}\n\na \\1 table\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(InputError, match="has no lines"):
        update_page(page, "a table")


def test_rows_of_a_later_run_stand_for_the_old(results: Results) -> None:
    first = replace(results, setup={"bundle": "one"})
    row = replace(first.rows[0], title="again")
    later = replace(first, machine=first.machine | {"date": "2026-12-01"}, rows=(row,))
    found = first.with_rows_of(later)
    assert [one.title for one in found.rows] == ["again", *(r.title for r in first.rows[1:])]
    assert found.setup == {"bundle": "one", OTHER_RUN: f"{row.name} (2026-12-01)"}
    found = found.with_rows_of(replace(later, rows=(replace(row, name="new"),)))
    assert [one.name for one in found.rows] == [*(r.name for r in first.rows), "new"]
    assert found.setup[OTHER_RUN] == f"{row.name} (2026-12-01); new (2026-12-01)"
    with pytest.raises(InputError, match="bundle is one in one and two in the other"):
        first.with_rows_of(replace(later, setup={"bundle": "two"}))


# -- the command ---------------------------------------------------------------------------------


def test_a_quick_run(tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rows without a peer, into a folder; a peer that is not installed is named."""
    rows = ["--only", "ner", "--only", "heads"]
    options = ["--quick", "--model", str(tiny_folder), "--work", str(tmp_path / "work")]
    output = tmp_path / "out"
    status = app_main(
        ["bench", *options, *rows, "--peers", "transformers", "--output", str(output)]
    )
    told = capfd.readouterr()
    assert status == 0, told.err
    assert "ner: not shown: transformers: not installed; run: nlpkit bench --install" in told.err
    found = read(output / "speed.json")
    assert [row.name for row in found.rows] == ["ner", "heads"]
    assert found.rows[0].sides["nlpkit"].figures["texts/s"].median > 0
    assert found.setup["texts"] == "made up"
    assert "fp32, GFLOP/s" in found.roofline
    page = tmp_path / "speed.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    command = ["bench", "--from", str(output / "speed.json"), "--page", str(page), "--json"]
    assert app_main(command) == 0
    assert json.loads(capfd.readouterr().out) == json.loads((output / "speed.json").read_text())
    assert "## Asked and reached" in page.read_text()


def test_rows_that_need_no_company_run(bench: Bench) -> None:
    """The rows that the command's test does not run, on the tiny bundle."""
    for name in ("independence", "length", "growth"):
        row = ROWS[name](bench)
        assert row.name == name
        assert row.checks or row.curves["texts"]["nlpkit"]
    assert ROWS["independence"](bench).checks[0].value.median <= 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "nothing"], "unknown row 'nothing'; known: accuracy,"),
        (["--peers", "nobody"], "unknown peer 'nobody'"),
        (["--page", "absent.md"], "--page absent.md: there is no such file"),
        (["--from", "absent.json"], "absent.json holds no results"),
        (["--model", "absent"], "unknown bundle 'absent'"),
    ],
)
def test_bad_input_is_told(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app_main(["bench", "--quick", *options]) == 2
    assert message in capfd.readouterr().err


def test_a_row_that_breaks_off_leaves_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bench) -> Row:
        raise SideError("nlpkit ended (-9)")

    monkeypatch.setitem(ROWS, "ner", broken)
    bench.__dict__["roofline"] = Roofline({}, {}, 1.0, {"int8": "not here"})
    *_, found = run(bench, ["ner", "heads"])
    assert found.rows[0].refused == {FAILED: "nlpkit ended (-9)"}
    assert found.rows[1].checks
    assert found.roofline["int8, not measured"] == "not here"


def test_rows_that_cannot_be_had_say_why(bench: Bench) -> None:
    with pytest.raises(InputError, match="set NLPKIT_DATA"):
        ROWS["accuracy"](bench)
    bench.__dict__["gpu"] = "none"
    with pytest.raises(InputError, match="no GPU"):
        ROWS["gpu-embed"](bench)
