"""What programmers noted down to do later."""

from __future__ import annotations

import re
import tokenize
from io import StringIO
from typing import TypedDict

_NOTE = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b.*")


class Note(TypedDict):
    """A comment that says what is still to be done."""

    line: int
    message: str


def find(text: str) -> list[Note]:
    """The comments of a text that have TODO, FIXME, XXX or HACK in them; strings are no comments.

    >>> find("x = 'TODO'  # TODO(me): more\\n")
    [{'line': 1, 'message': 'TODO(me): more'}]

    Raises:
        SyntaxError: the text cannot be split into tokens.
    """
    try:
        tokens = list(tokenize.generate_tokens(StringIO(text).readline))
    except tokenize.TokenError as error:
        raise SyntaxError(str(error)) from error
    comments = (
        (token.start[0], _NOTE.search(token.string)) for token in tokens if token.type == tokenize.COMMENT
    )
    return [Note(line=line, message=note[0]) for line, note in comments if note]
