"""The text of a file: plain text, HTML, PDF or DOCX.

``EXTRACTORS`` is a dict you can read. An extractor takes an open file and gives its text with
what else it says of itself; where there is no text to have, it raises :class:`UnusableError` with
the reason. The libraries behind HTML, PDF and DOCX are the extra ``files``.
"""

from __future__ import annotations

import gzip
import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from nlpkit.errors import MissingExtraError
from nlpkit.sources.base import UnusableError, check_characters

if TYPE_CHECKING:
    from docx.document import Document as WordDocument
    from docx.oxml.xmlchemy import BaseOxmlElement

#: Larger texts are refused, and so is what unpacks to more: a small file can hold gigabytes.
LARGEST_TEXT = 64 * 2**20
LARGEST_DOCX = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file, with its title or number of pages where it has them."""

    text: str
    meta: dict[str, Any] = field(default_factory=dict)


def suffix_of(name: str) -> str:
    """A file's suffix in lower case; ``.gz`` takes the one before it along."""
    found = re.search(r"[^/](\.[^./ ]+(?:\.gz)?)$", name.lower())
    return found[1] if found else ""


def extract(file: BinaryIO, suffix: str) -> Extracted:
    """The text of an open file whose name ends in this suffix.

    Raises:
        UnusableError: the file is damaged, encrypted, too large or holds no text.
        MissingExtraError: the library for such files is not installed.
    """
    extractor = EXTRACTORS.get(suffix)
    if extractor is None:
        known = ", ".join(EXTRACTORS)
        raise UnusableError(f"no text is read from files named {suffix or '...'}; known: {known}")
    return extractor(file)


# Plain text ----------------------------------------------------------------------------------


def plain_text(file: BinaryIO) -> Extracted:
    """The file as it is, decoded as UTF-8."""
    return Extracted(_decoded(file))


def zipped_text(file: BinaryIO) -> Extracted:
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            return Extracted(_decoded(cast(BinaryIO, unzipped)))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnusableError(f"{error}; expected a whole gzip file") from None


def _decoded(file: BinaryIO) -> str:
    data = file.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise UnusableError(f"more than {LARGEST_TEXT >> 20} MiB of text; split the file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UnusableError(
            f"not UTF-8 (byte {byte:#04x} at offset {error.start}); save the file as UTF-8"
        ) from None


# HTML ----------------------------------------------------------------------------------------

#: They hold no text for readers, or the same links on every page.
_DROPPED = frozenset(
    ("head", "iframe", "nav", "noscript", "object", "script", "style", "svg", "template")
)
# fmt: off
_PARAGRAPHS = frozenset((
    "address", "article", "aside", "blockquote", "body", "details", "dialog", "div", "dl",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hgroup", "hr", "main", "ol", "p", "pre", "section", "summary", "table", "ul",
))
# fmt: on
#: What stands before an element: around those of _PARAGRAPHS, a blank line.
_GAPS = dict.fromkeys(("br", "caption", "dd", "dt", "legend", "li", "option", "tr"), "\n") | {
    "td": "\t",
    "th": "\t",
}


def html(file: BinaryIO) -> Extracted:
    """What a browser shows, without navigation: blocks apart by blank lines; and the title."""
    try:
        # Of the parsers that come as wheels, the one that follows HTML5 and loses no text of
        # deeply nested pages (libxml2 drops what lies below 256, or 2,048, levels).
        from selectolax.lexbor import LexborHTMLParser
    except ModuleNotFoundError:
        raise MissingExtraError.of("files", "reading HTML", "selectolax") from None
    source = _decoded(file)
    check_characters("the file", source)
    tree = LexborHTMLParser(source)
    title = tree.css_first("head > title")
    # Not by regular expressions, which take minutes for a long run of spaces.
    lines: list[str] = []
    for line in "".join(_html_parts(tree.body)).split("\n"):
        if (stripped := line.strip(" \t")) or (lines and lines[-1]):
            lines.append(stripped)
    return Extracted("\n".join(lines).strip("\n"), _titled(title.text() if title else None))


def _html_parts(body: Any) -> Iterator[str]:
    """Texts in order, and the gaps between them. Without recursion: pages nest deeply."""
    node, depth, verbatim = body, 0, 0
    while node is not None:
        if node.tag == "-text":
            text = node.text()
            yield text if verbatim else re.sub(r"[ \t\n\r\f]+", " ", text)
        else:
            yield "\n\n" if node.tag in _PARAGRAPHS else _GAPS.get(node.tag, "")
            if node.child is not None and node.tag not in _DROPPED:
                verbatim += node.tag == "pre"
                node, depth = node.child, depth + 1
                continue
        while depth and node.next is None:
            node, depth = node.parent, depth - 1
            verbatim -= node.tag == "pre"
            if node.tag in _PARAGRAPHS:
                yield "\n\n"
        node = node.next if depth else None


# PDF -----------------------------------------------------------------------------------------

# pypdf tells of every flaw it mends; an application that wants to hear it sets up logging.
logging.getLogger("pypdf").addHandler(logging.NullHandler())


def pdf(file: BinaryIO) -> Extracted:
    """The text of the pages, a blank line between two; their number and the title."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError
    except ModuleNotFoundError:
        raise MissingExtraError.of("files", "reading PDF", "pypdf") from None
    # Damaged files raise anything, from KeyError to RecursionError; the reason is kept.
    try:
        reader = PdfReader(file)
        # Many files are encrypted with an empty password, and open in every viewer.
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnusableError("encrypted; save it without a password")
        n_pages = len(reader.pages)
    except UnusableError:
        raise
    except DependencyError as error:
        raise UnusableError(f"encrypted ({error}); save it without encryption") from None
    except Exception as error:
        raise UnusableError(f"a PDF that cannot be read ({_named(error)})") from None
    pages = []
    for number in range(n_pages):
        try:
            pages.append(reader.pages[number].extract_text())
        except Exception as error:
            raise UnusableError(
                f"page {number + 1} of {n_pages} cannot be read ({_named(error)})"
            ) from None
    text = "\n\n".join(pages)
    if not text.strip():
        raise UnusableError(f"no text on {n_pages} pages: scanned? Run character recognition first")
    try:
        title = reader.metadata.title if reader.metadata else None
    except Exception:  # the pages are whole; a broken title is none
        title = None
    return Extracted(text, {"pages": n_pages, **_titled(title)})


# DOCX ----------------------------------------------------------------------------------------


def docx(file: BinaryIO) -> Extracted:
    """Paragraphs and tables in the order of the document; rows a line, cells apart by tabs."""
    try:
        from docx.api import Document
    except ModuleNotFoundError:
        raise MissingExtraError.of("files", "reading DOCX", "docx") from None
    try:
        with zipfile.ZipFile(file) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > LARGEST_DOCX:
            limit = f"at most {LARGEST_DOCX >> 20} MiB"
            raise UnusableError(f"unpacks to {size >> 20} MiB; expected {limit}")
        file.seek(0)
        document = Document(file)
        text = "\n\n".join(_blocks(document.element.body, document))
        return Extracted(text, _titled(_docx_title(document)))
    except zipfile.BadZipFile:
        raise UnusableError("not a DOCX file: damaged, encrypted, or an old .doc") from None
    except UnusableError:
        raise
    except Exception as error:
        raise UnusableError(f"a DOCX file that cannot be read ({_named(error)})") from None


def _blocks(parent: BaseOxmlElement, document: WordDocument) -> Iterator[str]:
    """Texts of paragraphs and tables, those inside content controls (w:sdt) too."""
    from docx.oxml.ns import qn
    from docx.table import Table
    from docx.text.paragraph import Paragraph

    for element in parent:
        if element.tag == qn("w:p"):
            text = Paragraph(element, document).text
            if text.strip():
                yield text
        elif element.tag == qn("w:tbl"):
            rows = [_cells(row._tr, document) for row in Table(element, document).rows]
            yield "\n".join(row for row in rows if row.strip())
        elif element.tag == qn("w:sdt"):
            for content in element.iterchildren(qn("w:sdtContent")):
                yield from _blocks(content, document)


def _cells(row: BaseOxmlElement, document: WordDocument) -> str:
    from docx.oxml.ns import qn

    cells = row.iterchildren(qn("w:tc"))
    return "\t".join(" ".join(_blocks(cell, document)).replace("\n", " ") for cell in cells)


def _docx_title(document: WordDocument) -> str | None:
    from docx.opc.constants import RELATIONSHIP_TYPE

    # Where there are no properties, python-docx makes some up, title included.
    relations = document.part.package.rels.values()
    if any(relation.reltype == RELATIONSHIP_TYPE.CORE_PROPERTIES for relation in relations):
        return str(document.core_properties.title)
    return None


# ---------------------------------------------------------------------------------------------


def _titled(title: object) -> dict[str, str]:
    """The title on one line; one that cannot be stored is none, the text does without."""
    if not isinstance(title, str) or not title.strip():
        return {}
    try:
        check_characters("the title", title)
    except UnusableError:
        return {}
    return {"title": " ".join(title.split())}


def _named(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}"[:200] if message else type(error).__name__


EXTRACTORS: dict[str, Callable[[BinaryIO], Extracted]] = {
    ".txt": plain_text,
    ".txt.gz": zipped_text,
    ".md": plain_text,
    ".html": html,
    ".htm": html,
    ".pdf": pdf,
    ".docx": docx,
}
