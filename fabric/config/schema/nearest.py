"""Finds the known key that an unknown key probably means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SYNONYMS = {"arguments": "args", "argv": "args", "environment": "env", "uri": "url", "workingDirectory": "cwd"}


def nearest(key: str, known: Iterable[str], alike: float) -> str | None:
    """The known key most like `key`, if its likeness is at least `alike`, from 0 to 1.

    Case, `_` and `-` make no difference, nor does the order of letters. A few synonyms from other programs are known.
    """
    bare = {_bare(each): each for each in known}
    word = _bare(_SYNONYMS.get(key, key))
    shuffled = [each for each in bare if sorted(each) == sorted(word)]
    return next((bare[each] for each in shuffled or difflib.get_close_matches(word, bare, 1, alike)), None)


def _bare(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()
