"""The command line: it says what the library says, in tables and JSON, and fails with a line."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpkit
from nlpkit.cli import app_main, doctor, output, progress, train
from nlpkit.cli.inputs import Format, Inputs, text_items
from nlpkit.errors import DataError, InputError
from nlpkit.pipeline import Pipeline

TEXT = "Ada Lovelace lived in London."
TEXTS = [TEXT, "", "Great phone, poor battery.", "Rovers won the cup in Paris \u2028 \U0001f389"]
QUESTION = "Who lived in London?"
COMMANDS = (
    "ner classify answer embed analyze train evaluate card doctor bundles quickstart app".split()  # noqa: SIM905
)
PROGRAM = [sys.executable, "-m", "nlpkit.cli"]


@dataclass(frozen=True)
class Run:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.split("\n") if line]


Cli = Callable[..., Run]


@pytest.fixture(scope="module")
def kit() -> Pipeline:
    return nlpkit.load()


@pytest.fixture
def cli(
    kit: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    """Runs a command line in this process; the default bundle is loaded once for all of them."""
    load, usual = nlpkit.load, ((), ("base-en", "auto", "auto"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(nlpkit, "load", lambda *given: kit if given in usual else load(*given))

    def run(*arguments: object, stdin: str | bytes | None = None) -> Run:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", Stdin(content))
        status = app_main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Run(status, said.out, said.err)

    before = set(kit.tasks)
    yield run
    for task in kit.tasks.keys() - before:
        kit.remove(task)


class Stdin(io.TextIOWrapper):
    """Standard input with this content, or a terminal where nobody types."""

    def __init__(self, content: bytes | None) -> None:
        super().__init__(io.BytesIO(content or b""))
        self._is_terminal = content is None

    def isatty(self) -> bool:
        return self._is_terminal


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )


# -- the command itself ----------------------------------------------------------------------------


def test_help_lists_the_commands(cli: Cli) -> None:
    found = cli("--help")
    assert found.status == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", found.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    found = cli(command, "--help")
    assert found.status == 0
    assert "--help" in found.out


def test_version_comes_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from nlpkit.cli import app_main; status = app_main(['--version'])\n"
        "heavy = {'numpy', 'onnxruntime', 'torch', 'transformers', 'tokenizers', 'faiss'}\n"
        "sys.exit(status or ', '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("nlpkit ")


@pytest.mark.parametrize("arguments", [["nre"], ["ner", "--nope"], ["answer", "--n-best", "x"]])
def test_wrong_usage_is_told_in_words(cli: Cli, arguments: list[str]) -> None:
    found = cli(*arguments)
    assert found.status == 2
    assert found.out == ""
    assert "Traceback" not in found.err


def test_a_process_answers_and_ends_well() -> None:
    found = process("ner", TEXT, "--json")
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["text"] == TEXT


# -- the five answers ------------------------------------------------------------------------------


def close(value: Any) -> Any:
    """The same structure, with numbers compared approximately."""
    if isinstance(value, dict):
        return {name: close(one) for name, one in value.items()}
    if isinstance(value, list):
        return [close(one) for one in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


def test_ner_says_what_the_library_says(cli: Cli, kit: Pipeline) -> None:
    found = cli("ner", TEXT, "--json")
    assert found.rows == [{"text": TEXT, "entities": [asdict(e) for e in kit.ner(TEXT)]}]


def test_classify_says_what_the_library_says(cli: Cli, kit: Pipeline) -> None:
    (row,) = cli("classify", TEXTS[2], "--json", "--task", "topic").rows
    assert row == {"text": TEXTS[2], "labels": [asdict(x) for x in kit.classify(TEXTS[2], "topic")]}


def test_classify_takes_labels_of_ones_own(cli: Cli, kit: Pipeline) -> None:
    options = ["--labels", "sport, food", "--template", "{} news"]
    (row,) = cli("classify", TEXTS[3], "--json", *options).rows
    expected = kit.classify(TEXTS[3], labels=["sport", "food"], template="{} news")
    assert row["labels"] == [asdict(label) for label in expected]


def test_answer_says_what_the_library_says(cli: Cli, kit: Pipeline) -> None:
    options = ["--n-best", "3", "--always-answer", "--max-answer-length", "2"]
    (row,) = cli("answer", QUESTION, TEXT, "--json", *options).rows
    expected = kit.answer(QUESTION, TEXT, no_answer=False, n_best=3, max_answer_length=2)
    keys = ("text", "start", "end", "score")
    answers = [{key: getattr(answer, key) for key in keys} for answer in expected]
    assert row == {"question": QUESTION, "context": TEXT, "answers": answers}


def test_embed_says_what_the_library_says(cli: Cli, kit: Pipeline) -> None:
    (row,) = cli("embed", TEXT, "--json").rows
    assert np.array_equal(np.float32(row["embedding"]), kit.embed(TEXT))


def test_analyze_says_what_the_library_says(cli: Cli, kit: Pipeline) -> None:
    (row,) = cli("analyze", TEXT, "--json").rows
    expected = kit.analyze(TEXT)
    assert row["entities"] == [asdict(e) for e in expected.entities]
    assert row["labels"] == {n: [asdict(x) for x in xs] for n, xs in expected.labels.items()}
    assert np.array_equal(np.float32(row["embedding"]), expected.embedding)


@pytest.mark.parametrize("command", ["ner", "classify", "embed", "analyze"])
def test_tables_are_for_people(cli: Cli, command: str) -> None:
    for found in (cli(command, TEXT), cli(command, stdin="\n".join([TEXT, "", *TEXTS]))):
        assert found.status == 0
        assert found.err == ""
        assert "Ada Lovelace" in found.out or command in ("classify", "embed")


def test_a_table_of_answers_says_where_there_is_none(cli: Cli) -> None:
    assert "no answer" in cli("answer", QUESTION, "").out


def test_what_cannot_be_seen_is_written_out(cli: Cli) -> None:
    found = cli("ner", "Paris \x1b[31m\x07 \ud800 Rome")
    assert found.status == 0
    assert "\x1b" not in found.out
    assert r"\x1b[31m\x07 \ud800" in found.out


# -- what is read ----------------------------------------------------------------------------------

ROWS = [{"id": i, "text": text, "year": 1840 + i} for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def expected(kit: Pipeline) -> list[Any]:
    return [close([asdict(e) for e in found]) for found in kit.ner(TEXTS)]


def test_a_text_file_is_one_text_a_line(cli: Cli, tmp_path: Path, expected: list[Any]) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(TEXTS).encode() + b"\r\n")
    found = cli("ner", "--file", file, "--json").rows
    assert [row["text"] for row in found] == TEXTS
    assert [row["entities"] for row in found] == expected


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_jsonl_carries_id_and_metadata(
    cli: Cli, tmp_path: Path, expected: list[Any], name: str
) -> None:
    content = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
    zipped = name.endswith(".gz")
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    found = cli("ner", "-f", tmp_path / name, "--json").rows
    assert [list(row) for row in found] == [["id", "text", "year", "entities"]] * len(ROWS)
    assert [{k: row[k] for k in ("id", "text", "year")} for row in found] == ROWS
    assert [row["entities"] for row in found] == expected


def test_csv_has_a_column_of_texts(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('id,body\nx,"Ada, in\nLondon"\ny,Rome\n', encoding="utf-8")
    found = cli("classify", "-f", file, "--column", "body", "--json").rows
    assert [(row["id"], row["text"]) for row in found] == [("x", "Ada, in\nLondon"), ("y", "Rome")]


def test_a_field_longer_than_the_csv_module_likes(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text\n" + "x" * 200_000 + "\n", encoding="utf-8")
    rows = list(Inputs(None, [file]))
    assert [len(row.fields["text"]) for row in rows] == [200_000]


def test_parquet_is_read_or_the_extra_is_named(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        file.write_bytes(b"")
        found = cli("ner", "-f", file)
        assert found.status == 2
        assert "pip install 'nlpkit-bert[files]'" in found.err
        return
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), file)
    found = cli("ner", "-f", file, "--json")
    assert [{k: row[k] for k in ("id", "text", "year")} for row in found.rows] == ROWS


def test_several_files_are_read_in_order(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    write(tmp_path / "b.jsonl", [{"text": "three"}])
    found = cli("embed", "-f", tmp_path / "a.txt", "-f", tmp_path / "b.jsonl", "--json")
    assert [row["text"] for row in found.rows] == ["one", "two", "three"]


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input_is_read(cli: Cli, expected: list[Any], arguments: list[str]) -> None:
    found = cli("ner", *arguments, "--json", stdin="\n".join(TEXTS))
    assert [row["entities"] for row in found.rows] == expected


def test_standard_input_in_other_formats(cli: Cli) -> None:
    jsonl = cli("ner", "--format", "jsonl", "--json", stdin='{"text": "Rome", "id": "a"}\n')
    assert [(row["id"], row["text"]) for row in jsonl.rows] == [("a", "Rome")]
    whole = cli("ner", "--format", "whole", "--json", stdin="one\ntwo\n")
    assert [row["text"] for row in whole.rows] == ["one\ntwo\n"]


def test_nothing_in_nothing_out(cli: Cli) -> None:
    assert cli("ner", stdin="") == Run(0, "", "")
    assert cli("ner", "--json", stdin="") == Run(0, "", "")


def test_questions_come_with_their_contexts(cli: Cli, kit: Pipeline) -> None:
    row = {"id": 7, "question": QUESTION, "context": TEXT, "source": "a book"}
    (found,) = cli("answer", "--json", stdin=json.dumps(row)).rows
    assert {**row, "answers": found["answers"]} == found
    assert found["answers"][0]["text"] == kit.answer(QUESTION, TEXT).text


@pytest.mark.parametrize("words", [[QUESTION], ["--question", QUESTION]])
def test_a_question_is_asked_of_every_context(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": TEXT}, {"text": "She bakes."}])
    found = cli("answer", *words, "-f", file, "--json").rows
    assert [(row["question"], row["context"]) for row in found] == [
        (QUESTION, TEXT),
        (QUESTION, "She bakes."),
    ]
    assert cli("answer", "--question", QUESTION, TEXT, "--json").rows[0]["context"] == TEXT


def test_results_become_the_metadata_of_the_next_command(cli: Cli) -> None:
    first = cli("ner", TEXT, "--json")
    (row,) = cli("classify", "--format", "jsonl", "--json", stdin=first.out).rows
    assert list(row) == ["text", "entities", "labels"]


def test_a_field_that_must_give_way_is_named(cli: Cli) -> None:
    row = json.dumps({"title": "Rome", "text": "long", "labels": ["gold"]})
    options = ["--format", "jsonl", "--column", "title", "--json"]
    found = cli("classify", *options, stdin=f"{row}\n{row}\n")
    assert [row["text"] for row in found.rows] == ["Rome", "Rome"]
    assert found.err.count("warning: ") == 2
    assert "'text'" in found.err
    assert "'labels'" in found.err


@pytest.mark.parametrize(
    ("name", "content", "line", "expected"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2", "one JSON object a line"),
        ("a.jsonl", b'["a"]\n', "line 1", "one JSON object a line"),
        ("a.jsonl", b'{"text": NaN}\n', "line 1", "one JSON object a line"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "line 1", "one JSON object a line"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": 3}\n', "line 3", "a string 'text'"),
        ("a.jsonl", b'{"body": "a"}\n', "line 1", "a string 'text'"),
        ("a.csv", b"id,text\n1,a\n2\n", "line 3", "2, as in the header"),
        ("a.csv", b"id,text\n1,a,b\n", "line 2", "2, as in the header"),
        ("a.csv", b'id,text\n1,"a\n', "line 2", "comma-separated values"),
        ("a.txt", b"a\nb\ncaf\xe9\n", "line 3", "UTF-8 text"),
        ("a.txt.gz", b"not gzip", "line 1", "a whole gzip file"),
        ("a.txt.gz", gzip.compress(b"a\n" * 9, mtime=0)[:-9], "line", "a whole gzip file"),
    ],
)
def test_a_bad_line_is_named(
    cli: Cli, tmp_path: Path, name: str, content: bytes, line: str, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    found = cli("embed", "-f", tmp_path / name, "--json")
    assert found.status == 2
    assert found.err.startswith(f"error: {tmp_path / name}, {line}")
    assert expected in found.err
    assert found.err.count("\n") == 1


def test_what_came_before_a_bad_line_is_shown(cli: Cli) -> None:
    lines = '{"text": "Rome"}\n{"text": "Paris"}\noops\n'
    found = cli("ner", "--format", "jsonl", "--json", stdin=lines)
    assert found.status == 2
    assert [row["text"] for row in found.rows] == ["Rome", "Paris"]
    assert "Paris" in cli("ner", "--format", "jsonl", stdin=lines).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ner"], "nothing to read"),
        (["ner", "-f", "absent.txt"], "absent.txt: no such file"),
        (["ner", "-f", "a.docx"], "--format"),
        (["ner", "a text", "-f", "absent.txt"], "expected one of them"),
        (["ner", "-", "--format", "parquet"], "cannot be Parquet"),
        (["ner", TEXT, "--task", "sentiment"], "known: ner"),
        (["ner", TEXT, "--model", "nobody"], "base-en"),
        (["ner", TEXT, "--device", "tpu"], "cuda"),
        (["ner", TEXT, "--pack", "absent"], "pack.json is missing"),
        (["classify", TEXT, "--task", "weather"], "sentiment"),
        (["classify", TEXT, "--labels", "a,,b"], "names separated by commas"),
        (["classify", TEXT, "--labels", "a,a"], "twice"),
        (["answer", QUESTION, TEXT, "--n-best", "0"], "at least 1"),
        (["answer", QUESTION, TEXT, "--question", "Why?"], "twice"),
        (["evaluate", "--suite", "nobody"], "conll2003"),
        (["evaluate", "--task", "ner"], "--data"),
        (["evaluate", "--html", "page.txt"], "expected a name in .html"),
        (["evaluate", "--html", "absent/page.html"], "there is no folder absent"),
        (["evaluate", "--html", "a.html", "--output", "a.html"], "expected two files"),
        (["train"], "--task"),
        (["train", "nobody"], "base_en"),
        (["train", "ner", "--task", "ner"], "either a recipe or --task"),
        (["train", "ner", "--epochs", "3"], "--epochs"),
        (["bundles", "--card", "nobody"], "base-en"),
    ],
)
def test_bad_input_is_one_line_and_status_2(cli: Cli, arguments: list[str], said: str) -> None:
    found = cli(*arguments)
    assert (found.status, found.out) == (2, "")
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert said in found.err


def test_text_that_the_model_does_not_know_carries_a_warning(cli: Cli) -> None:
    text = "\u4eba\u5de5\u667a\u80fd\u6539\u53d8\u4e16\u754c\u9f98\u9f99"
    found = cli("ner", text, "--json")
    assert found.status == 0
    assert found.err.startswith("warning: ")
    assert "unknown" in found.rows[0]["warnings"][0]
    for n_best in (1, 2):
        (row,) = cli("answer", "Who?", text, "--n-best", n_best, "--json").rows
        assert "unknown" in row["warnings"][0]


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("".join(f"text {i}\n" for i in range(100_000)))
    inputs = Inputs(None, [file])
    items = text_items(iter(inputs), None)
    assert [next(items).value for _ in range(3)] == ["text 0", "text 1", "text 2"]
    assert 0 < (inputs.fraction or 0) < 0.1
    assert sum(1 for _ in items) == 99_997
    assert inputs.fraction == 1.0


def test_a_given_format_counts_more_than_the_name(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"a\.log"):
        Inputs(None, [file])
    assert [row.fields["text"] for row in Inputs(None, [file], Format.TXT)] == ["one", "two"]
    with pytest.raises(DataError, match="line 1"):
        list(Inputs(None, [file], Format.JSONL))


# -- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_output_is_json_lines_in_a_file(cli: Cli, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    assert cli("ner", "--output", file, stdin="\n".join(TEXTS)) == Run(0, "", "")
    content = gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes()
    assert content.decode() == cli("ner", "--json", stdin="\n".join(TEXTS)).out
    assert list(tmp_path.iterdir()) == [file]


def test_embeddings_become_an_array(cli: Cli, kit: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "out.npy"
    assert cli("embed", "-o", file, stdin="\n".join(TEXTS)).status == 0
    found = np.load(file)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, kit.embed(TEXTS), atol=1e-5)
    assert cli("embed", "-o", file, "--overwrite", stdin="").status == 0
    assert np.load(file).shape == (0, kit.engine.width)


def test_an_output_that_exists_is_kept(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("mine")
    found = cli("ner", TEXT, "--output", file)
    assert found.status == 2
    assert "--overwrite" in found.err
    assert file.read_text() == "mine"
    assert cli("ner", TEXT, "--output", file, "--overwrite").status == 0
    assert json.loads(file.read_text())["text"] == TEXT


def test_an_output_appears_when_it_is_complete(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    found = cli("ner", "--format", "jsonl", "-o", file, stdin='{"text": "Rome"}\noops\n')
    assert found.status == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.npy", "absent/out.jsonl", "."])
def test_an_output_that_cannot_be(cli: Cli, tmp_path: Path, name: str) -> None:
    found = cli("ner", TEXT, "--output", tmp_path / name)
    assert found.status == 2
    assert found.err.startswith("error: --output")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "a.txt"
    file.write_text("Rome\n" * 2000)
    arguments = [*PROGRAM, "embed", "-f", str(file), *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() != 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_results_stream_and_signals_leave_nothing(tmp_path: Path, number: int, status: int) -> None:
    arguments = [*PROGRAM, "ner", "--output", str(tmp_path / "out.jsonl")]
    if number == signal.SIGINT:  # once to a pipe, whose first lines come before the input ends
        arguments = [*PROGRAM, "ner", "--json"]
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What a shell starts in the background ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(b"Rome\n" * 1100)
        running.stdin.flush()
        if number == signal.SIGINT:
            assert json.loads(running.stdout.readline())["text"] == "Rome"
        else:
            wait_for(lambda: any(tmp_path.iterdir()))
        running.send_signal(number)
        running.stdin.close()
        assert running.wait(60) == status
        assert b"Traceback" not in running.stderr.read()
    assert list(tmp_path.iterdir()) == []


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
@pytest.mark.parametrize("seen", [True, False])
def test_progress_shows_only_where_a_person_looks(tmp_path: Path, seen: bool) -> None:
    import pty

    (tmp_path / "a.txt").write_text("Rome\n" * 30)
    terminal, its_end = pty.openpty()
    arguments = [*PROGRAM, "embed", "-f", str(tmp_path / "a.txt")]
    arguments += ["-o", str(tmp_path / "out.npy")] if seen else ["--json"]
    run = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=its_end, stdin=subprocess.DEVNULL, check=False
    )
    os.close(its_end)
    assert run.returncode == 0
    assert (b"30 texts" in all_of(terminal)) == seen


def all_of(terminal: int) -> bytes:
    """What was written to a terminal whose other end is closed."""
    content = b""
    try:
        while part := os.read(terminal, 4096):
            content += part
    except OSError:  # Linux's way to say the end
        pass
    os.close(terminal)
    return content


def test_json_can_hold_anything() -> None:
    odd = {"a": float("nan"), "b": np.float32(0.5), "c": "\ud800\u4e2d", "d": [float("inf")]}
    line = output.json_line(odd)
    assert json.loads(line) == {"a": None, "b": 0.5, "c": "\ud800\u4e2d", "d": [None]}
    assert output.json_line("\u4e2d") == '"\u4e2d"\n'.encode()


# -- packs, training, evaluation -------------------------------------------------------------------

INTENTS = {
    "refund": ["I want my money back", "please refund the order", "give me a refund now"],
    "delivery": ["where is my parcel", "has my package been sent", "the delivery is late"],
}


@pytest.fixture
def intents(tmp_path: Path) -> Path:
    rows = [{"text": text, "label": name} for name, texts in INTENTS.items() for text in texts]
    return write(tmp_path / "intents.jsonl", rows)


def test_a_pack_is_trained_and_used(cli: Cli, intents: Path, tmp_path: Path) -> None:
    pack = tmp_path / "packs" / "intent"
    command = ["train", "--task", "classification", "--train", intents, "--dev", intents]
    found = cli(*command, "--output", pack, "--json")
    assert found.status == 0, found.err
    (row,) = found.rows
    assert row["path"] == str(pack)
    assert row["scores"]["accuracy"] > 0.9
    assert "step" in found.err  # a log's line, as nobody looks

    options = ["--pack", pack, "--task", "intent", "--json"]
    (row,) = cli("classify", "please refund the parcel", *options).rows
    assert {label["name"] for label in row["labels"]} == set(INTENTS)
    assert cli(*command, "--output", pack).status == 2  # it is kept


def test_training_without_torch_names_the_extra(
    cli: Cli, intents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    task = ["train", "--task", "classification", "--train", intents, "--name", "intent"]
    for arguments in (["train", "ner", "--output", tmp_path / "a"], task):
        found = cli(*arguments)
        assert found.status == 2
        assert "pip install 'nlpkit-bert[train]'" in found.err


RECIPE = """
from nlpkit.training.recipe import Recipe

def recipe():
    return Recipe(name="toy", description="nothing", tasks=(), version=3, seed=5)
"""


@pytest.mark.parametrize(
    ("options", "seed", "begin_from", "heads_from"),
    [
        ([], 5, None, {}),
        (["--seed", "0"], 0, None, {}),
        (["--from", "base-en"], 5, "base-en", {}),
        (["--from", "one", "--head", "qa=two=2"], 5, "one", {"qa": "two=2"}),
    ],
)
def test_a_recipe_is_trained(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    seed: int,
    begin_from: str | None,
    heads_from: dict[str, str],
) -> None:
    from nlpkit.training import run
    from nlpkit.training.trainer import Progress

    def train_recipe(recipe: Any, output: Path, **given: Any) -> Path:
        given.pop("report")(Progress(9, 9, {"ner": 0.25}, 100.0, 0.0))
        assert (recipe.name, recipe.seed) == ("toy", seed)
        expected = {"device": "cpu", "checkpoint_minutes": 2.0, "overwrite": True}
        assert given == {**expected, "begin_from": begin_from, "heads_from": heads_from}
        return output

    monkeypatch.setattr(run, "train_recipe", train_recipe)
    (tmp_path / "toy.py").write_text(RECIPE)
    options = [*options, "--device", "cpu", "--checkpoint-minutes", "2", "--overwrite", "--json"]
    found = cli("train", tmp_path / "toy.py", *options)
    assert (found.status, found.rows) == (0, [{"path": "toy-3", "scores": {}}])
    assert "step 9 of 9" in found.err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--from", "one", "--head", "qa"], "--head qa: expected TASK=BUNDLE"),
        (["--head", "qa=two"], "--head goes with --from"),
    ],
)
def test_a_head_needs_a_bundle_and_a_backbone(
    cli: Cli, tmp_path: Path, options: list[str], match: str
) -> None:
    (tmp_path / "toy.py").write_text(RECIPE)
    found = cli("train", tmp_path / "toy.py", *options)
    assert found.status == 2
    assert match in found.err


def test_a_training_line_says_how_it_goes() -> None:
    from nlpkit.training.trainer import Progress

    line = progress.training_line(Progress(20, 100, {"ner": 0.5}, 2000.0, 75.0))
    assert line == "step 20 of 100 · 1:15 left · 2,000 tokens/s · losses: ner 0.500"


def test_evaluate_scores_a_file(cli: Cli, kit: Pipeline, tmp_path: Path) -> None:
    rows = [{"text": "A lovely film.", "label": "positive"}, {"text": "Dull.", "label": "negative"}]
    data = write(tmp_path / "a.jsonl", rows)
    right = [kit.classify(row["text"])[0].name == row["label"] for row in rows]
    command = ["evaluate", "base-en", "--task", "sentiment", "--data", str(data)]
    (row,) = cli(*command, "--json").rows
    assert row["scores"]["accuracy"] == pytest.approx(np.mean(right))
    assert row["command"] == " ".join(["nlpkit", *command])
    assert row["bundle"] == kit.name

    file = tmp_path / "scores.jsonl"
    found = cli(*command, "--output", file)
    assert found.out.startswith("sentiment")
    assert json.loads(file.read_text())["scores"] == row["scores"]


def test_evaluate_shows_the_details_of_a_file_and_writes_a_page(cli: Cli, tmp_path: Path) -> None:
    rows = [{"text": "<b>A lovely film.", "label": "negative"}]
    data, page = write(tmp_path / "a.jsonl", rows), tmp_path / "page.html"
    command = ["evaluate", "--task", "sentiment", "--data", data, "--html", page]
    found = cli(*command)
    assert found.status == 0
    for part in ("accuracy", "95 % from", "calibration error", "class", "n_gold"):
        assert part in found.out
    written = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;A lovely film." in written
    assert "Reliability" in written
    assert "exists and is kept" in cli(*command).err
    assert cli(*command, "--overwrite").status == 0


def test_evaluate_runs_groups_of_suites(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nlpkit import suites

    monkeypatch.setattr(suites, "GROUPS", {"dev": ("sst5_dev", "stsb_dev")})
    monkeypatch.setenv("NLPKIT_DATA", str(tmp_path))
    assert "sst5" in cli("evaluate", "--suite", "dev").err  # the file that is missing


def test_evaluate_runs_suites(cli: Cli, data_folder: Path) -> None:
    command = ["evaluate", "--suite", "sst2", "--suite", "conll2003", "--limit", "3", "--json"]
    found = cli(*command)
    assert [(row["suite"], row["n_examples"]) for row in found.rows] == [
        ("sst2", 3),
        ("conll2003", 3),
    ]
    assert found.rows[0]["command"] == "nlpkit evaluate base-en --suite sst2 --limit 3"


def test_evaluate_keeps_the_suites_before_one_that_fails(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nlpkit.scoring import Measured
    from nlpkit.suites import SUITES, Suite

    def measure(*rest: Any) -> Any:
        return Measured({"accuracy": 0.5}, 2)

    def fail(*rest: Any) -> Any:
        raise InputError("the second suite fails")

    for name, run in (("sst2", measure), ("sst2_test", fail)):
        monkeypatch.setitem(SUITES, name, Suite(name, "", (), run, "sentiment"))
    scores, page = tmp_path / "scores.jsonl", tmp_path / "page.html"
    command = ["evaluate", "--suite", "sst2", "--suite", "sst2_test", "--output", scores]
    found = cli(*command, "--html", page)
    assert found.status == 2
    assert "the second suite fails" in found.err
    (row,) = map(json.loads, scores.read_text().splitlines())
    assert (row["suite"], row["n_examples"]) == ("sst2", 2)
    assert "sst2" in page.read_text(encoding="utf-8")


def test_evaluate_says_first_what_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLPKIT_DATA", raising=False)
    found = cli("evaluate")
    assert (found.status, found.out) == (2, "")
    assert "NLPKIT_DATA" in found.err


# -- doctor, bundles, quickstart -------------------------------------------------------------------


def test_doctor_finds_nothing_broken(cli: Cli) -> None:
    found = cli("doctor", "--full", "--json")
    assert found.status == 0
    checks = {row["part"]: row for row in found.rows}
    assert "broken" not in {row["status"] for row in found.rows}
    assert checks["engine"]["detail"].split()[0] in ("onnx", "openvino", "torch")
    assert f" in {nlpkit.load().engine.precision}: " in checks["engine"]["detail"]
    for task in ("ner", "classify", "answer", "embed"):
        assert checks[f"self-test {task}"]["status"] == "ok"
    assert cli("doctor").out.rstrip().endswith("all that is installed works")


def test_doctor_finds_an_altered_bundle(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlpkit import bundle

    path = bundle.bundles()["base-en"]
    shutil.copytree(path, tmp_path / path.name)
    with (tmp_path / path.name / "tokenizer.json").open("ab") as file:
        file.write(b" ")
    monkeypatch.setattr(bundle, "FOLDER", tmp_path)
    found = cli("doctor")
    assert found.status == 1
    assert "tokenizer.json is altered" in " ".join(found.out.split())
    assert f"broken: bundle {path.name}" in found.out


def test_doctor_knows_extras_and_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "numpy<3,>=1.26",
        "faiss-cpu<2",
        'torch>=2.6; extra == "train"',
        "streamlit; extra == 'app'",
        'nlpkit-bert[train]; extra == "all"',
        'pytest; extra == "dev"',
    ]
    versions = {"nlpkit-bert": "1", "numpy": "2", "faiss-gpu": "1.9", "torch": "2.13"}
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "version", lambda name: found_version(versions, name))
    checks = {check.part: check for check in doctor.installed()}
    assert checks["dependencies"].status == "ok"  # faiss-gpu stands in for faiss-cpu
    assert checks["extra train"].detail == "torch 2.13"
    assert checks["extra app"].status == "absent"
    assert checks["extra app"].fix == "run: pip install 'nlpkit-bert[app]'"
    assert not {"extra dev", "extra all"} & checks.keys()
    assert list(doctor.swaps()) == []

    versions["faiss-cpu"] = "1.9"
    (check,) = doctor.swaps()
    assert (check.part, check.status) == ("faiss", "warning")
    del versions["numpy"]
    assert {c.part: c.status for c in doctor.installed()}["dependencies"] == "broken"


def found_version(versions: dict[str, str], name: str) -> str:
    if name not in versions:
        raise PackageNotFoundError(name)
    return versions[name]


def test_bundles_are_listed(cli: Cli, kit: Pipeline) -> None:
    rows = {row["id"]: row for row in cli("bundles", "--json").rows}
    assert set(kit.tasks) == set(rows[kit.name]["heads"])
    assert "base-en" in rows[kit.name]["names"]
    assert kit.name in cli("bundles").out


def test_quickstart_shows_everything_on_a_screen() -> None:
    found = process("quickstart", env={**os.environ, "COLUMNS": "80"})
    assert (found.returncode, found.stderr) == (0, "")
    assert len(found.stdout.splitlines()) <= 50
    assert "\x1b" not in found.stdout
    for heading in ("Entities", "Sentiment", "Topic", "Answers", "Nearest", "Next steps"):
        assert heading in found.stdout
    assert "Maria Lindqvist" in found.stdout
