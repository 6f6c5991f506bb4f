"""A folder of files: notes, manuals, reports. A template to copy.

Data     Every .txt, .md, .html, .pdf and .docx file in the folder and the folders in it, one
         document a file; hidden files are left out. HTML, PDF and DOCX need the extra "files".
Ids      The path below the folder: manuals/pump.pdf.
Fields   path, suffix, bytes, modified; title and pages where a file has them.
Run      nlpkit index build folder --index my.index
         Without a recipe: nlpkit index build ~/documents --index my.index
Change   FOLDER, and PATTERNS to take some of the files. NAME is kept beside each document, for
         --prune to know what came from here: choose it once.
"""

from __future__ import annotations

from pathlib import Path

from nlpkit.sources import FolderSource, IndexRecipe

#: A relative path is looked for in the folder the command runs in.
FOLDER = Path("documents")
#: By name or path, such as ("*.pdf", "2024/*"); none takes all that can be read.
PATTERNS: tuple[str, ...] = ()
NAME = "documents"


def source() -> FolderSource:
    return FolderSource(FOLDER, PATTERNS, NAME)


def recipe() -> IndexRecipe:
    return IndexRecipe("folder", "The files of a folder", source)
