"""What of a text may leave the machine: personal values are replaced before a teacher sees it.

Numbers are known by their check digits and by the world's numbering plans (`stdnum`,
`phonenumbers`); what is left of long digit runs is hidden too, since a missed number costs more
than a sentence that lost one. Names of people need a language model that the configuration names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.cn import ric
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.in_ import aadhaar, pan
from stdnum.it import codicefiscale
from stdnum.us import ssn

from flywheel.errors import FlywheelError

# Names of people in a text, by a spaCy pipeline that the configuration names.
#
# Such models come from a hub or a package index of the user's choice, so none is shipped: without
# `[teacher] names_model` names are not looked for. One that is configured and cannot be loaded
# stops the teacher: nothing leaves the machine less hidden than was asked for.

Names = Callable[[str], Sequence[tuple[int, int]]]
"""Gives the places of people's names in a text: start and end, in characters."""

_PEOPLE = frozenset({"PERSON", "PER"})  # as OntoNotes and as CoNLL call them


@lru_cache(maxsize=1)
def finder(model: str) -> Names | None:
    """What finds names by this pipeline, a package or a folder; None where `model` is empty.

    Raises:
        FlywheelError: spaCy is not installed, it cannot load the pipeline, or the pipeline names
            no entities.
    """
    if not model:
        return None
    try:
        import spacy
    except ImportError as error:
        raise FlywheelError(
            "[teacher] names_model needs spaCy, which is not installed",
            hint="pip install 'flywheel[names]'",
        ) from error
    try:
        pipeline = spacy.load(model)
    except (OSError, ValueError, ImportError) as error:
        raise FlywheelError(
            f"[teacher] names_model: spaCy cannot load {model!r}: {error}",
            hint="name an installed pipeline, such as en_core_web_sm, or the folder of one",
        ) from error
    if not {"ner", "entity_ruler"} & set(pipeline.pipe_names):
        raise FlywheelError(
            f"[teacher] names_model: the pipeline {model!r} has no `ner`, so it finds no names",
            hint="choose one that recognises entities",
        )
    return lambda text: _people(pipeline, text)


def _people(pipeline: Any, text: str) -> list[tuple[int, int]]:
    return [
        (entity.start_char, entity.end_char)
        for entity in pipeline(text).ents
        if entity.label_ in _PEOPLE
    ]


_REGIONS = ("US", "GB", "DE", "FR", "ES", "CN", "IN", "BR", "JP")  # of numbers without +
_EMAIL = re.compile(r"[\w.+%-]+\s?@\s?[\w-]+(?:\.[\w-]+)+", re.UNICODE)
_SPOKEN_EMAIL = re.compile(r"\b[\w.-]+ at [\w-]+ dot (?:com|net|org|edu|io|de|fr|es|cn)\b", re.I)
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:sk|pk|rk)[-_](?:[a-z]+[-_])*[A-Za-z0-9]{16,}"
    r"|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abeoprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"
    r"|(?<=[Bb]earer )\S{12,}"
)
_SECRET = re.compile(
    r"(?i)\b(?:pass(?:word|wort|code)?|pin|contraseña|mot de passe|密码|secret|api[ _-]?key|token)"
    r"(?: is| ist| es| est|是|:|=)\s*(\S{3,})"
)
_LONG_KEY = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9_-]{28,}\b")
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])\d(?:[ .\-/]?\d){6,32}[A-Z]?(?![A-Za-z0-9_])", re.I)
_COMPACT = re.compile(r"[ .\-/]")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")
_MANY_DIGITS = 9  # in one number: an account, a card, a phone

_IDENTITY: tuple[Callable[[str], bool], ...] = tuple(
    module.is_valid for module in (ssn, ric, dni, nie, nir, aadhaar, pan, codicefiscale, cpf)
)
_PERSONAL = re.compile(r"\b(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{9,18}\b", re.I)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]){11,30}\b", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """A text without personal values."""

    text: str
    hidden: tuple[str, ...]  # kinds, in the order of the text


def redact(text: str, names: Names | None = None) -> Redacted:
    """Replace personal values by their kind in brackets; names of people where they can be found.

    >>> redact("mail anna@example.org or call 415-555-2671").text
    'mail [email] or call [phone]'
    """
    taken: list[tuple[int, int, str]] = []
    people = [(*place, "name") for place in names(text)] if names else []
    for found in [*_found(text), *people]:
        if all(found[1] <= start or end <= found[0] for start, end, _ in taken):
            taken.append(found)
    parts, at = [], 0
    for start, end, kind in sorted(taken):
        parts += [text[at:start], f"[{kind}]"]
        at = end
    return Redacted(
        text="".join([*parts, text[at:]]), hidden=tuple(kind for _, _, kind in sorted(taken))
    )


def redacted(texts: Sequence[str], names: Names | None = None) -> tuple[str, ...]:
    """The texts as they may leave."""
    return tuple(redact(text, names).text for text in texts)


Found = tuple[int, int, str]


def _found(text: str) -> list[Found]:
    """The surest first: what was found before is not named again."""
    return [
        each
        for look in (_keys, _emails, _ibans, _cards, _phones, _identities, _long)
        for each in look(text)
    ]


def _keys(text: str) -> list[Found]:
    found = [(*each.span(), "key") for each in _KEY.finditer(text)]
    found += [(*each.span(1), "key") for each in _SECRET.finditer(text)]
    return found + [(*each.span(), "key") for each in _LONG_KEY.finditer(text)]


def _emails(text: str) -> list[Found]:
    return [
        (*each.span(), "email")
        for pattern in (_EMAIL, _SPOKEN_EMAIL)
        for each in pattern.finditer(text)
    ] + [(*each.span(), "address") for each in _ADDRESS.finditer(text)]


def _cards(text: str) -> list[Found]:
    found = []
    for each in _NUMBER.finditer(text):
        compact = _COMPACT.sub("", each[0])
        if 13 <= len(compact) <= 19 and luhn.is_valid(compact):
            found.append((*each.span(), "card"))
    return found


def _identities(text: str) -> list[Found]:
    """Numbers that states give, by their check digits."""
    found = []
    for each in (*_NUMBER.finditer(text), *_PERSONAL.finditer(text)):
        compact = _COMPACT.sub("", each[0])
        if any(is_valid(each[0]) or is_valid(compact) for is_valid in _IDENTITY):
            found.append((*each.span(), "id"))
    return found


def _ibans(text: str) -> list[Found]:
    """Accounts may be written in groups, and words may follow them."""
    found: list[Found] = []
    for each in _IBAN.finditer(text):
        groups = each[0].split(" ")
        for count in range(len(groups), 0, -1):
            number = " ".join(groups[:count])
            if iban.is_valid(number):
                found.append((each.start(), each.start() + len(number), "iban"))
                break
    return found


def _phones(text: str) -> list[Found]:
    if sum(sign.isdigit() for sign in text) < 7:
        return []
    return [
        (each.start, each.end, "phone")
        for region in _REGIONS
        for each in PhoneNumberMatcher(text, region, leniency=Leniency.VALID)
        if not _DATE.fullmatch(each.raw_string)
    ]


def _long(text: str) -> list[Found]:
    return [
        (*each.span(), "number")
        for each in _NUMBER.finditer(text)
        if sum(sign.isdigit() for sign in each[0]) >= _MANY_DIGITS and not _DATE.search(each[0])
    ]
