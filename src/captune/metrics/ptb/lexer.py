"""Read tokens from a text by the PTB rules: at each place the longest match, then the earliest.

Only the requested part is read; the text around it is context, because the last abbreviation of a
caption depends on the text after it.
"""

from __future__ import annotations

from captune.metrics.ptb.rules import rules_for


def lex(text: str, start: int, *, stop: int) -> list[str]:
    """Return the lower-case tokens that start in `text[start:stop]`, including punctuation.

    Args:
        text: The text with its context; tokens that start at `stop` or later are not returned.
        start: Index of the first character to read.
        stop: Index before which a token must start.
    """
    tokens: list[str] = []
    place = start
    while place < stop:
        longest, token, rewrite = 0, "", None
        for matches, rule_rewrite, needs, within in rules_for(text[place]):
            if needs and text.find(needs, place, place + within) < 0:
                continue
            match = matches(text, place)
            if match is not None and match.end() > longest:
                longest, token, rewrite = match.end(), match[1], rule_rewrite
        if rewrite is None:
            place += 1  # Characters of no class are dropped, as in the original.
            continue
        place += len(token)
        written = rewrite(token)
        if written:
            tokens.append(written.lower())
    return tokens
