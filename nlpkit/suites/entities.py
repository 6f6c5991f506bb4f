"""Suites of entities: CoNLL-2003 as it is, in documents and in other letters, and WNUT-17."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nlpkit.errors import InputError
from nlpkit.readers import Sentence, Source, read_conll
from nlpkit.scoring import Kit, Measured, Progress, score_entities
from nlpkit.scoring.entities import surfaces
from nlpkit.suites.base import Suite


def _conll2003(file: str, part: str, sha256: str) -> Source:
    return Source(
        file=f"conll2003/{file}",
        name=f"CoNLL-2003, {part} part",
        licence="Reuters text under a NIST research agreement",
        address="https://github.com/synalp/NER",
        sha256=sha256,
    )


def _wnut17(file: str, part: str, sha256: str) -> Source:
    return Source(
        file=f"wnut17/{file}",
        name=f"WNUT-17, {part} part",
        licence="CC BY 4.0",
        address="https://github.com/leondz/emerging_entities_17",
        sha256=sha256,
    )


CONLL2003_TRAIN = _conll2003(
    "train.conll.gz", "train", "eb6165ae51762956a1b1118a7c6ae004fc057114df65c8174da7dac0720c6216"
)
CONLL2003_DEV = _conll2003(
    "dev.conll.gz", "dev", "b6c98aaaa3dd2718668094faf6e3eb36dc8dfa0915146f772bc0b754334a960f"
)
CONLL2003_TEST = _conll2003(
    "test.conll.gz", "test", "4dc3ccf4a140ace6ec85036762c7ca0ba6e2bd2e109b26ac9c1fac328fb45f02"
)
#: These keep the marks between documents.
CONLL2003_DEV_DOCUMENTS = _conll2003(
    "original_eng.testa.gz",
    "dev",
    "16b7d604a8fe5a95332b121a6ea52f397d97198a8a11667164a68c610444f561",
)
CONLL2003_TEST_DOCUMENTS = _conll2003(
    "original_eng.testb.gz",
    "test",
    "bc319ed4b6a4acf47b67c1440e8974bd587acc04237014a93d938486dec56ac7",
)
WNUT17_TRAIN = _wnut17(
    "train.conll.gz", "train", "ebe07b052f35c360f45afcffb7ce3d1b38ddcc3f9aadde1f97ffb247623156a4"
)
WNUT17_DEV = _wnut17(
    "dev.conll.gz", "dev", "e5bf29634f30882099bbca17b47733a8adf716b7dd13192160d9ad550e1ee406"
)
WNUT17_TEST = _wnut17(
    "test.conll.gz", "test", "41a9df463d0ad527f0a299832ea4361b05df223bf9d5f7c8e714b66581a80539"
)
WNUT17_LABELS = {"person": "PER", "location": "LOC"}


@dataclass(frozen=True, slots=True)
class Entities:
    """Measures entities on the sentences of a CoNLL file.

    ``letters`` changes every word. With ``whole_documents`` a limit counts documents. The slices
    of seen and unseen entities are left out where the data folder lacks the ``training`` file.
    """

    training: Source
    names: Mapping[str, str] | None = None
    letters: Callable[[str], str] = str
    whole_documents: bool = False

    def __call__(
        self, kit: Kit, files: Sequence[Path], limit: int | None, progress: Progress
    ) -> Measured:
        sentences = read_conll(files[0])
        if self.whole_documents:
            kept = list(dict.fromkeys(s.document for s in sentences))[:limit]
            sentences = [s for s in sentences if s.document in set(kept)]
        else:
            sentences = sentences[:limit]
        return score_entities(
            kit,
            [replace(s, tokens=tuple(map(self.letters, s.tokens))) for s in sentences],
            progress,
            names=self.names,
            whole_documents=self.whole_documents,
            seen=self._seen(),
        )

    def _seen(self) -> set[str] | None:
        try:
            path = self.training.path()
        except InputError:
            return None
        sentences = read_conll(path)
        return surfaces([_named(s, self.names) for s in sentences])


def _named(sentence: Sentence, names: Mapping[str, str] | None) -> Sentence:
    """The sentence with tags of the named labels alone."""
    if names is None:
        return sentence
    return replace(sentence, tags=tuple(t if t[2:] in names else "O" for t in sentence.tags))


_CONLL = Entities(CONLL2003_TRAIN)
_DOCUMENTS = replace(_CONLL, whole_documents=True)
_LOWER, _UPPER = replace(_CONLL, letters=str.lower), replace(_CONLL, letters=str.upper)
_WNUT = Entities(WNUT17_TRAIN, WNUT17_LABELS)

ENTITIES = (
    Suite(
        "conll2003",
        "CoNLL-2003 test, strict entity F1, one sentence a call",
        (CONLL2003_TEST,),
        _CONLL,
        "ner",
    ),
    Suite(
        "conll2003_documents",
        "CoNLL-2003 test, strict entity F1, whole documents scored sentence by sentence",
        (CONLL2003_TEST_DOCUMENTS,),
        _DOCUMENTS,
        "ner",
    ),
    Suite(
        "conll2003_lower",
        "CoNLL-2003 test in lower case, strict entity F1, one sentence a call",
        (CONLL2003_TEST,),
        _LOWER,
        "ner",
    ),
    Suite(
        "conll2003_upper",
        "CoNLL-2003 test in upper case, strict entity F1, one sentence a call",
        (CONLL2003_TEST,),
        _UPPER,
        "ner",
    ),
    Suite(
        "wnut17",
        "WNUT-17 test, strict entity F1 of persons and locations; never trained on",
        (WNUT17_TEST,),
        _WNUT,
        "ner",
    ),
    Suite(
        "conll2003_dev",
        "CoNLL-2003 dev, strict entity F1, one sentence a call",
        (CONLL2003_DEV,),
        _CONLL,
        "ner",
        "dev",
    ),
    Suite(
        "conll2003_dev_documents",
        "CoNLL-2003 dev, strict entity F1, whole documents scored sentence by sentence",
        (CONLL2003_DEV_DOCUMENTS,),
        _DOCUMENTS,
        "ner",
        "dev",
    ),
    Suite(
        "conll2003_dev_lower",
        "CoNLL-2003 dev in lower case, strict entity F1, one sentence a call",
        (CONLL2003_DEV,),
        _LOWER,
        "ner",
        "dev",
    ),
    Suite(
        "conll2003_dev_upper",
        "CoNLL-2003 dev in upper case, strict entity F1, one sentence a call",
        (CONLL2003_DEV,),
        _UPPER,
        "ner",
        "dev",
    ),
    Suite(
        "wnut17_dev",
        "WNUT-17 dev, strict entity F1 of persons and locations; never trained on",
        (WNUT17_DEV,),
        _WNUT,
        "ner",
        "dev",
    ),
)
