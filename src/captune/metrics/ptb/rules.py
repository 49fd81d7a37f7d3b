"""The PTB tokenizer's rules as a literal table: the longest match wins, then the earliest rule.

A rule is a regular expression: group 1 is the token; the text matched after it is context, which
counts for the length but is read again. Written from black-box observation of Stanford's
PTBTokenizer 3.4.1, never from its grammar.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from captune.metrics.ptb import patterns as p
from captune.metrics.ptb.characters import (
    CAPITALS,
    DIGITS,
    LETTERS,
    SYMBOL_RUNS,
    SYMBOLS,
    WHITE_SPACE,
)


class LexerRule(NamedTuple):
    """One way to read a token.

    Attributes:
        starts: Body of a regular expression class: the characters that a token can start with.
        pattern: Group 1 is the token; the rest is context.
        rewrite: Returns the written form of the token's text; empty: nothing is written.
        needs: A character that every such token contains; searching for it is cheaper than the
            pattern, which would run to its bound and back at each word of a hostile caption.
        within: Number of characters within which that character must occur.
    """

    starts: str
    pattern: str
    rewrite: Callable[[str], str] = str
    needs: str = ""
    within: int = 0


def _normal_quotes(token: str) -> str:
    return token.translate(_QUOTES).replace("&apos;", "'")


def _escape_brackets(token: str) -> str:
    return token.translate(_BRACKETS)


def _no_break(token: str) -> str:
    return _escape_brackets(re.sub(f"[{WHITE_SPACE}]", "\u00a0", token))


def _clean(token: str) -> str:
    return _AMPERSAND.sub("&", token.replace("\u00ad", "")) or "-"


def _add_stop(token: str) -> str:
    return token + "."


def _write(text: str) -> Callable[[str], str]:
    return lambda _: text


_AMPERSAND = re.compile("(?ai:&amp;)")
_BRACKETS = str.maketrans({"(": "-lrb-", ")": "-rrb-"})
_QUOTE_MARKS = "\u0091-\u0094\u2018\u2019\u201b-\u201d\u00ab\u00bb\u2039\u203a"
_QUOTES = str.maketrans(
    {
        **dict.fromkeys("\u0091\u2018\u201b\u2039", "`"),
        **dict.fromkeys("\u0092\u2019\u203a", "'"),
        **dict.fromkeys("\u0093\u201c\u00ab", "``"),
        **dict.fromkeys("\u0094\u201d\u00bb", "''"),
    }
)

_WORDS = (
    LexerRule("A-Za-z", "((?ai:c\\+\\+|[cf]#))"),
    LexerRule("A-Za-z", "((?ai:can))(?ai:not)"),
    LexerRule("A-Za-z", "((?ai:gon|wan))(?ai:na)"),
    LexerRule("A-Za-z", "((?ai:got))(?ai:ta)"),
    LexerRule("A-Za-z", "((?ai:gim|lem))(?ai:me)"),
    LexerRule("A-Za-z", "((?ai:anti|pro)-)"),
    LexerRule(
        "A-Za-z\u00ad",
        f"([A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*)(?ai:n{p.ANY_APOSTROPHE}t)",
        _clean,
    ),
    LexerRule("A-Za-z", f"((?ai:n{p.ANY_APOSTROPHE}t))", _normal_quotes),
    LexerRule(
        f"{p.LETTER}{DIGITS}",
        f"({p.WORD}|[{LETTERS}{DIGITS}]+){p.APOSTROPHE}{p.CONTRACTION}",
        _clean,
    ),
    LexerRule("'", "('[tT])(?ai:is|was)"),
    LexerRule("'\u0092\u2019&", f"({p.APOSTROPHE}{p.CONTRACTION})[^A-Za-z]", _normal_quotes),
    LexerRule("'", "('[smdSMD])"),
    LexerRule("\u0092\u2019&", f"({p.APOSTROPHE}{p.CONTRACTION})", _normal_quotes),
    LexerRule("'\u2019&", f"({p.APOSTROPHE}[nN]{p.APOSTROPHE})"),
    LexerRule("'\u2019&", f"({p.APOSTROPHE}[nN])"),
    LexerRule("A-Za-z", f"((?ai:[dlj]|ol|somethin|dunkin){p.APOSTROPHE})"),
    LexerRule("A-Za-z", f"([yY]{p.APOSTROPHE})[{LETTERS}]"),
    LexerRule(LETTERS, f"({p.INNER_APOSTROPHE})"),
    LexerRule("'\u2019&", f"({p.APOSTROPHE}(?ai:em|till?|cause))"),
    LexerRule("'\u2019&", f"({p.APOSTROPHE}[2-9]0[sS])"),
    LexerRule("'\u2019&", f"({p.APOSTROPHE}[0-9]{{2}}){p.SPACE}"),
    LexerRule(
        f"{p.LETTER}{DIGITS}&",
        f"((?:{p.WORD}|{p.JOINED}|{p.HYPHENED}|{p.CAPITALS})\\.)[,;:]",
        _clean,
        needs=".",
        within=1 << 12,
    ),
    LexerRule(
        "A-Za-z",
        f"({p.ABBREVIATION})\\.(?:{p.SPACE}(?:{p.SPACE}+|[{CAPITALS}]|{p.TAG})|{p.SPACE}*\\Z)",
        _add_stop,
        needs=".",
        within=10,
    ),
    LexerRule("A-Za-z", f"((?:{p.ABBREVIATION}|{p.TITLE})\\.)", needs=".", within=10),
    LexerRule("A-Za-z", f"({p.NUMBERED}\\.){p.SPACE}?[0-9]", needs=".", within=10),
    LexerRule("A-Za-z", f"([A-Za-z])\\.{p.SPACE}+{p.STARTER}", needs=".", within=2),
    LexerRule("A-Za-z", f"({p.ACRONYM})\\.{p.SPACE}+{p.STARTER}", _add_stop, needs=".", within=2),
    LexerRule("A-Za-z", f"((?:{p.ACRONYM}|[A-Za-z])\\.)", needs=".", within=2),
    LexerRule(f"{p.LETTER}&", f"({p.WORD})", _clean),
    LexerRule("A-Za-z", f"({p.ABBREVIATION}\\.)(?s:..)", needs=".", within=10),
    LexerRule(f"{LETTERS}{DIGITS}", f"({p.JOINED})"),
    LexerRule("A-Za-z0-9", f"({p.HYPHENED})", _clean, needs="-", within=102),
    LexerRule("A-Z", f"({p.CAPITALS})", _clean),
    LexerRule("A-Z", "([A-Z]+\\$)"),
    LexerRule("A-Za-z0-9", f"({p.SLASHED})"),
)

_NUMBERS_AND_ADDRESSES = (
    LexerRule(f"{DIGITS}.:,+\\-\u00ad\u066b\u066c", f"({p.NUMBER})", _clean),
    LexerRule("0-9", f"({p.FRACTION})", _no_break),
    LexerRule("0-9", f"({p.DATE})"),
    LexerRule("0-9(+", f"({p.TELEPHONE})", _no_break),
    LexerRule(
        f"{LETTERS}{DIGITS}\u00ad", f"({p.FILE})[{WHITE_SPACE}\n\u0085.!?,]", needs=".", within=201
    ),
    LexerRule("Hh", f"((?ai:{p.WEB}))"),
    LexerRule("Ww", f"({p.WWW})"),
    LexerRule("^ \\t\\n\"`'<>|!?(){}$,-_", f"({p.SITE})", needs=".", within=64),
    LexerRule("A-Za-z0-9<", f"({p.MAIL})", needs="@", within=503),
    LexerRule("@", "(@[A-Za-z_][A-Za-z0-9_]*)"),
    LexerRule("#", f"(#[{LETTERS}\u00ad]+)"),
    LexerRule("<", f"({p.TAG})", _no_break, needs=">", within=1 << 15),
    LexerRule("<>:;=", f"({p.FACE})[^A-Za-z0-9]", _escape_brackets),
    LexerRule("\\-^x=~<>'(", f"({p.ASIAN_FACE})", _escape_brackets),
)

_MARKS = (
    LexerRule(WHITE_SPACE, f"([{WHITE_SPACE}]+)", _write("")),
    LexerRule('"&', '("|&quot;)[A-Za-z0-9$]', _write("``")),
    LexerRule('"&', '("|&quot;)', _write("''")),
    LexerRule("'", f"(')[A-Za-z][^{WHITE_SPACE}\n]", _write("`")),
    LexerRule("'", "(''?)"),
    LexerRule("&", "(&apos;)", _write("'")),
    LexerRule(f"`{_QUOTE_MARKS}", f"([`{_QUOTE_MARKS}]{{1,2}})", _normal_quotes),
    LexerRule(".", "(\\.{3,5}|\\.(?:[ \u00a0]\\.){2,4})", _write("...")),
    LexerRule("\u0085\u2026", "(.)", _write("...")),
    LexerRule("\\-", "(-{2,4})", _write("--")),
    LexerRule("\\-", "(-{5,})"),
    LexerRule("\u0096\u0097\u2013-\u2015", "(.)", _write("--")),
    LexerRule("&", "(&(?ai:md|[mn]dash);)", _write("--")),
    LexerRule("&", "(&(?ai:amp);)", _write("&")),
    LexerRule("&", "(&(?ai:lt);)", _write("<")),
    LexerRule("&", "(&(?ai:gt);)", _write(">")),
    LexerRule("&", "(&(?ai:nbsp);)", _write("")),
    LexerRule("&", "(&(?:#[0-9]+|(?ai:quot|apos|ht|tl|lr|ur|qc|ql|qr|cdq|odq));)"),
    LexerRule("(", "(\\()", _write("-lrb-")),
    LexerRule(")", "(\\))", _write("-rrb-")),
    LexerRule("\\[", "(\\[)", _write("-lsb-")),
    LexerRule("\\]", "(\\])", _write("-rsb-")),
    LexerRule("{", "(\\{)", _write("-lcb-")),
    LexerRule("}", "(\\})", _write("-rcb-")),
    LexerRule("\u00a3", "(.)", _write("#")),
    LexerRule("\u0080\u00a4\u20a0\u20ac", "(.)", _write("$")),
    LexerRule("\u00a2", "(.)", _write("cents")),
    LexerRule("\u00bc", "(.)", _write("1/4")),
    LexerRule("\u00bd", "(.)", _write("1/2")),
    LexerRule("\u00be", "(.)", _write("3/4")),
    LexerRule("\u2153", "(.)", _write("1/3")),
    LexerRule("\u2154", "(.)", _write("2/3")),
    LexerRule("!?", "([!?]+)"),
    LexerRule("*\\\\", "(\\*+|(?:\\\\\\*)+)"),
    LexerRule("#", "(#+)"),
    LexerRule("@", "(@+)"),
    LexerRule("_", "(_+)"),
    LexerRule("<", "(<<?)"),
    LexerRule(">", "(>>?)"),
    LexerRule(SYMBOL_RUNS, f"([{SYMBOL_RUNS}]+)"),
    LexerRule(f"\\-.,:;%$&/=+|~\\^\\\\{SYMBOLS}", "(.)"),
)

RULES = (*_WORDS, *_NUMBERS_AND_ADDRESSES, *_MARKS)


class StartingRule(NamedTuple):
    """A rule that can start with the current character; see `LexerRule`."""

    match: Callable[[str, int], re.Match[str] | None]
    rewrite: Callable[[str], str]
    needs: str
    within: int


@functools.cache
def rules_for(character: str) -> tuple[StartingRule, ...]:
    """Return the rules that can start with a character, in order."""
    return tuple(
        StartingRule(_compile(rule.pattern).match, rule.rewrite, rule.needs, rule.within)
        for rule in RULES
        if _compile(f"[{rule.starts}]").match(character)
    )


@functools.cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
