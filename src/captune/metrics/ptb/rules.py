"""The PTB tokenizer's rules as a literal table: the longest match wins, then the earliest rule.

A rule is a regular expression: group 1 is the token, what follows group 1 is context that counts
for the length but stays to be read. Written from black-box observation of Stanford's PTBTokenizer
3.4.1, never from its grammar.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from captune.metrics.ptb import patterns as p
from captune.metrics.ptb.characters import BLANKS, CAPITALS, DIGITS, LETTERS, SYMBOL_RUNS, SYMBOLS


class Rule(NamedTuple):
    """One way to read a token.

    Attributes:
        starts: Body of a regular expression class: the characters it can start with.
        pattern: Group 1 is the token; the rest is context.
        rewrite: Turns the token's text into what is written; empty text writes nothing.
        needs: A character that every such token has; looking for it is cheaper than the pattern,
            which would run to its bound and back at each word of a hostile caption.
        within: How far into the token that character can stand.
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
    return _escape_brackets(re.sub(f"[{BLANKS}]", "\u00a0", token))


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
    Rule("A-Za-z", "((?ai:c\\+\\+|[cf]#))"),
    Rule("A-Za-z", "((?ai:can))(?ai:not)"),
    Rule("A-Za-z", "((?ai:gon|wan))(?ai:na)"),
    Rule("A-Za-z", "((?ai:got))(?ai:ta)"),
    Rule("A-Za-z", "((?ai:gim|lem))(?ai:me)"),
    Rule("A-Za-z", "((?ai:anti|pro)-)"),
    Rule(
        "A-Za-z\u00ad",
        f"([A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*)(?ai:n{p.ANY_APOSTROPHE}t)",
        _clean,
    ),
    Rule("A-Za-z", f"((?ai:n{p.ANY_APOSTROPHE}t))", _normal_quotes),
    Rule(
        f"{p.LETTER}{DIGITS}",
        f"({p.WORD}|[{LETTERS}{DIGITS}]+){p.APOSTROPHE}{p.CONTRACTION}",
        _clean,
    ),
    Rule("'", "('[tT])(?ai:is|was)"),
    Rule("'\u0092\u2019&", f"({p.APOSTROPHE}{p.CONTRACTION})[^A-Za-z]", _normal_quotes),
    Rule("'", "('[smdSMD])"),
    Rule("\u0092\u2019&", f"({p.APOSTROPHE}{p.CONTRACTION})", _normal_quotes),
    Rule("'\u2019&", f"({p.APOSTROPHE}[nN]{p.APOSTROPHE})"),
    Rule("'\u2019&", f"({p.APOSTROPHE}[nN])"),
    Rule("A-Za-z", f"((?ai:[dlj]|ol|somethin|dunkin){p.APOSTROPHE})"),
    Rule("A-Za-z", f"([yY]{p.APOSTROPHE})[{LETTERS}]"),
    Rule(LETTERS, f"({p.INNER_APOSTROPHE})"),
    Rule("'\u2019&", f"({p.APOSTROPHE}(?ai:em|till?|cause))"),
    Rule("'\u2019&", f"({p.APOSTROPHE}[2-9]0[sS])"),
    Rule("'\u2019&", f"({p.APOSTROPHE}[0-9]{{2}}){p.SPACE}"),
    Rule(
        f"{p.LETTER}{DIGITS}&",
        f"((?:{p.WORD}|{p.JOINED}|{p.HYPHENED}|{p.CAPITALS})\\.)[,;:]",
        _clean,
        needs=".",
        within=1 << 12,
    ),
    Rule(
        "A-Za-z",
        f"({p.ABBREVIATION})\\.(?:{p.SPACE}(?:{p.SPACE}+|[{CAPITALS}]|{p.TAG})|{p.SPACE}*\\Z)",
        _add_stop,
        needs=".",
        within=10,
    ),
    Rule("A-Za-z", f"((?:{p.ABBREVIATION}|{p.TITLE})\\.)", needs=".", within=10),
    Rule("A-Za-z", f"({p.NUMBERED}\\.){p.SPACE}?[0-9]", needs=".", within=10),
    Rule("A-Za-z", f"([A-Za-z])\\.{p.SPACE}+{p.STARTER}", needs=".", within=2),
    Rule("A-Za-z", f"({p.ACRONYM})\\.{p.SPACE}+{p.STARTER}", _add_stop, needs=".", within=2),
    Rule("A-Za-z", f"((?:{p.ACRONYM}|[A-Za-z])\\.)", needs=".", within=2),
    Rule(f"{p.LETTER}&", f"({p.WORD})", _clean),
    Rule("A-Za-z", f"({p.ABBREVIATION}\\.)(?s:..)", needs=".", within=10),
    Rule(f"{LETTERS}{DIGITS}", f"({p.JOINED})"),
    Rule("A-Za-z0-9", f"({p.HYPHENED})", _clean, needs="-", within=102),
    Rule("A-Z", f"({p.CAPITALS})", _clean),
    Rule("A-Z", "([A-Z]+\\$)"),
    Rule("A-Za-z0-9", f"({p.SLASHED})"),
)

_NUMBERS_AND_ADDRESSES = (
    Rule(f"{DIGITS}.:,+\\-\u00ad\u066b\u066c", f"({p.NUMBER})", _clean),
    Rule("0-9", f"({p.FRACTION})", _no_break),
    Rule("0-9", f"({p.DATE})"),
    Rule("0-9(+", f"({p.TELEPHONE})", _no_break),
    Rule(f"{LETTERS}{DIGITS}\u00ad", f"({p.FILE})[{BLANKS}\n\u0085.!?,]", needs=".", within=201),
    Rule("Hh", f"((?ai:{p.WEB}))"),
    Rule("Ww", f"({p.WWW})"),
    Rule("^ \\t\\n\"`'<>|!?(){}$,-_", f"({p.SITE})", needs=".", within=64),
    Rule("A-Za-z0-9<", f"({p.MAIL})", needs="@", within=503),
    Rule("@", "(@[A-Za-z_][A-Za-z0-9_]*)"),
    Rule("#", f"(#[{LETTERS}\u00ad]+)"),
    Rule("<", f"({p.TAG})", _no_break, needs=">", within=1 << 15),
    Rule("<>:;=", f"({p.FACE})[^A-Za-z0-9]", _escape_brackets),
    Rule("\\-^x=~<>'(", f"({p.ASIAN_FACE})", _escape_brackets),
)

_MARKS = (
    Rule(BLANKS, f"([{BLANKS}]+)", _write("")),
    Rule('"&', '("|&quot;)[A-Za-z0-9$]', _write("``")),
    Rule('"&', '("|&quot;)', _write("''")),
    Rule("'", f"(')[A-Za-z][^{BLANKS}\n]", _write("`")),
    Rule("'", "(''?)"),
    Rule("&", "(&apos;)", _write("'")),
    Rule(f"`{_QUOTE_MARKS}", f"([`{_QUOTE_MARKS}]{{1,2}})", _normal_quotes),
    Rule(".", "(\\.{3,5}|\\.(?:[ \u00a0]\\.){2,4})", _write("...")),
    Rule("\u0085\u2026", "(.)", _write("...")),
    Rule("\\-", "(-{2,4})", _write("--")),
    Rule("\\-", "(-{5,})"),
    Rule("\u0096\u0097\u2013-\u2015", "(.)", _write("--")),
    Rule("&", "(&(?ai:md|[mn]dash);)", _write("--")),
    Rule("&", "(&(?ai:amp);)", _write("&")),
    Rule("&", "(&(?ai:lt);)", _write("<")),
    Rule("&", "(&(?ai:gt);)", _write(">")),
    Rule("&", "(&(?ai:nbsp);)", _write("")),
    Rule("&", "(&(?:#[0-9]+|(?ai:quot|apos|ht|tl|lr|ur|qc|ql|qr|cdq|odq));)"),
    Rule("(", "(\\()", _write("-lrb-")),
    Rule(")", "(\\))", _write("-rrb-")),
    Rule("\\[", "(\\[)", _write("-lsb-")),
    Rule("\\]", "(\\])", _write("-rsb-")),
    Rule("{", "(\\{)", _write("-lcb-")),
    Rule("}", "(\\})", _write("-rcb-")),
    Rule("\u00a3", "(.)", _write("#")),
    Rule("\u0080\u00a4\u20a0\u20ac", "(.)", _write("$")),
    Rule("\u00a2", "(.)", _write("cents")),
    Rule("\u00bc", "(.)", _write("1/4")),
    Rule("\u00bd", "(.)", _write("1/2")),
    Rule("\u00be", "(.)", _write("3/4")),
    Rule("\u2153", "(.)", _write("1/3")),
    Rule("\u2154", "(.)", _write("2/3")),
    Rule("!?", "([!?]+)"),
    Rule("*\\\\", "(\\*+|(?:\\\\\\*)+)"),
    Rule("#", "(#+)"),
    Rule("@", "(@+)"),
    Rule("_", "(_+)"),
    Rule("<", "(<<?)"),
    Rule(">", "(>>?)"),
    Rule(SYMBOL_RUNS, f"([{SYMBOL_RUNS}]+)"),
    Rule(f"\\-.,:;%$&/=+|~\\^\\\\{SYMBOLS}", "(.)"),
)

RULES = (*_WORDS, *_NUMBERS_AND_ADDRESSES, *_MARKS)


class StartingRule(NamedTuple):
    """A rule that can start with the current character; see `Rule`."""

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
