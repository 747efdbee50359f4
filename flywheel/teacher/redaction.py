"""Redaction: personal values are replaced by their kind before a text is sent to a teacher.

Numbers are recognised by check digits and numbering plans (`stdnum`, `phonenumbers`). Remaining
long digit runs are replaced too, since a missed number costs more than a lost one. Names of people
need a spaCy pipeline that the configuration names; none is shipped, since such models come from a
hub or package index of the user's choice. A configured pipeline that cannot be loaded stops the
teacher: no text leaves the machine less redacted than configured.

Both packages are imported with the first text: most processes, and a daemon without a teacher,
redact nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flywheel.errors import FlywheelError
from flywheel.scripts import UNSPACED

Names = Callable[[str], Sequence[tuple[int, int]]]
"""Returns the (start, end) of people's names in a text, in characters."""

HiddenSpan = tuple[int, int, str]
"""(start, end, kind), in characters."""

_PEOPLE = frozenset({"PERSON", "PER"})  # as OntoNotes and as CoNLL call them


@lru_cache(maxsize=1)
def finder(model: str) -> Names | None:
    """Return a finder of names by this spaCy pipeline (package or folder); None for "".

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
_LETTER = rf"[^\W{UNSPACED}]"  # an address in a Chinese sentence ends where Chinese begins
_EMAIL = re.compile(rf"(?:{_LETTER}|[.+%-])+\s?@\s?(?:{_LETTER}|-)+(?:\.(?:{_LETTER}|-)+)+")
_SPOKEN_EMAIL = re.compile(
    r"\b[\w.-]+ at [\w-]+ dot (?:com|net|org|edu|io|de|fr|es|cn)\b", re.I | re.A
)
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:sk|pk|rk)[-_](?:[a-z]+[-_])*[A-Za-z0-9]{16,}"
    r"|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abeoprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"
    r"|(?<=[Bb]earer )\S{12,}",
    re.A,
)
_SECRET = re.compile(
    r"(?i)\b(?:pass(?:word|wort|code)?|pin|contraseña|mot de passe|secret|api[ _-]?key|token)"
    r"(?: is| ist| es| est|:|=)\s*(\S{3,})"
)
_LONG_KEY = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9_-]{28,}\b", re.A)
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b", re.A)
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])\d(?:[ .\-/]?\d){6,32}[A-Z]?(?![A-Za-z0-9_])", re.I)
_COMPACT = re.compile(r"[ .\-/]")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")
_MANY_DIGITS = 9  # digits of one number from which it is hidden

_PERSONAL = re.compile(r"\b(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{9,18}\b", re.I | re.A)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]){11,30}\b", re.I | re.A)

# Chinese: secrets and numbers that are named, simplified or traditional, and number plates.
_COPULA = r"\s*(?:就?是|[为為叫]|[改设設][成为為]|[:=])\s*"
_SECRET_ZH = re.compile(
    r"(?:密[码碼]|口令|[密秘]钥|金鑰|[验驗][证證][码碼]|令牌|权杖)"
    rf"(?:{_COPULA}([!-~]{{3,}})|\s*((?=[!-~]*\d)[!-~]{{4,}}))"
)
_NAMED_ZH = re.compile(
    r"(?:[护護]照|通行[证證]|[证證]件|军官证|社保|学号|工号|[账帐帳][号號]|卡[号號]|微信|QQ)"
    rf"(?:[号號][码碼]?)?(?:{_COPULA}|\s*)((?=[A-Z_-]*\d)[A-Z0-9][A-Z0-9_-]{{4,}})",
    re.I,
)
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]"
    r"[A-HJ-NP-Z][·. ]?[A-HJ-NP-Z0-9]{5,6}(?![A-Z0-9])"
)

_SPOKEN_DIGITS = "零一二三四五六七八九"
_SPOKEN = str.maketrans(f"{_SPOKEN_DIGITS}〇○幺两兩", "012345678900122")
_SPOKEN_RUN = re.compile(rf"[{_SPOKEN_DIGITS}〇○幺两兩](?:[ -]?[{_SPOKEN_DIGITS}〇○幺两兩]){{6,}}")
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_ASCII_FORMS = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_FORMS = str.maketrans(_ASCII_FORMS | _DASHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """A text without personal values."""

    text: str
    hidden: tuple[str, ...]  # kinds of the replaced values, in the order of the text


def redact(text: str, names: Names | None = None) -> Redacted:
    """Replace personal values by their kind in brackets; people's names where `names` is given.

    >>> redact("mail anna@example.org or call 415-555-2671").text
    'mail [email] or call [phone]'
    """
    accepted: list[tuple[int, int, str]] = []
    people = [(*place, "name") for place in names(text)] if names else []
    for span in [*_personal_spans(in_ascii_forms(text)), *people]:
        if all(span[1] <= start or end <= span[0] for start, end, _ in accepted):
            accepted.append(span)
    parts, position = [], 0
    for start, end, kind in sorted(accepted):
        parts += [text[position:start], f"[{kind}]"]
        position = end
    return Redacted(
        text="".join([*parts, text[position:]]),
        hidden=tuple(kind for _, _, kind in sorted(accepted)),
    )


def redacted(texts: Sequence[str], names: Names | None = None) -> tuple[str, ...]:
    """Return the redacted texts."""
    return tuple(redact(text, names).text for text in texts)


def in_ascii_forms(text: str) -> str:
    """Return the text with digits of any script, full-width signs and dashes as ASCII has them.

    Every character stays at its place. Chinese numerals are digits where seven or more follow one
    another, as numbers are read aloud.

    >>> in_ascii_forms("打幺三八零零一三八零零零，密码：１２３")
    '打13800138000,密码:123'
    """
    if text.isascii():
        return text
    plain = "".join(_digit(sign) for sign in text.translate(_FORMS))
    return _SPOKEN_RUN.sub(lambda match: match[0].translate(_SPOKEN), plain)


def _digit(sign: str) -> str:
    value = unicodedata.decimal(sign, None)
    return sign if value is None or sign.isascii() else str(value)


def _personal_spans(text: str) -> list[HiddenSpan]:
    """Candidate spans, the most certain kinds first; `redact` skips overlapping later ones."""
    return [
        span
        for look in (
            _keys,
            _emails,
            _ibans,
            _cards,
            _chinese_identities,
            _phones,
            _identities,
            _named,
            _long_numbers,
        )
        for span in look(text)
    ]


def _keys(text: str) -> list[HiddenSpan]:
    spans = [(*match.span(), "key") for match in _KEY.finditer(text)]
    spans += [(*match.span(1), "key") for match in _SECRET.finditer(text)]
    spans += [(*match.span(match.lastindex or 0), "key") for match in _SECRET_ZH.finditer(text)]
    return spans + [(*match.span(), "key") for match in _LONG_KEY.finditer(text)]


def _emails(text: str) -> list[HiddenSpan]:
    return [
        (*match.span(), "email")
        for pattern in (_EMAIL, _SPOKEN_EMAIL)
        for match in pattern.finditer(text)
    ] + [(*match.span(), "address") for match in _ADDRESS.finditer(text)]


def _cards(text: str) -> list[HiddenSpan]:
    from stdnum import luhn

    spans = []
    for match in _NUMBER.finditer(text):
        compact = _COMPACT.sub("", match[0])
        if 13 <= len(compact) <= 19 and luhn.is_valid(compact):
            spans.append((*match.span(), "card"))
    return spans


@lru_cache(maxsize=1)
def _identity_checks() -> tuple[Callable[[str], bool], ...]:
    from stdnum.br import cpf
    from stdnum.cn import ric
    from stdnum.es import dni, nie
    from stdnum.fr import nir
    from stdnum.in_ import aadhaar, pan
    from stdnum.it import codicefiscale
    from stdnum.us import ssn

    checked = (ssn, ric, dni, nie, nir, aadhaar, pan, codicefiscale, cpf)
    return tuple(module.is_valid for module in checked)


def _identities(text: str) -> list[HiddenSpan]:
    """National identity numbers, by their check digits."""
    spans = []
    for match in (*_NUMBER.finditer(text), *_PERSONAL.finditer(text)):
        compact = _COMPACT.sub("", match[0])
        if any(is_valid(match[0]) or is_valid(compact) for is_valid in _identity_checks()):
            spans.append((*match.span(), "id"))
    return spans


def _chinese_identities(text: str) -> list[HiddenSpan]:
    """Before phones: the date in an identity number looks like one."""
    from stdnum.cn import ric

    return [
        (*match.span(), "id")
        for match in _NUMBER.finditer(text)
        if ric.is_valid(_COMPACT.sub("", match[0]).upper())
    ]


def _ibans(text: str) -> list[HiddenSpan]:
    """Accounts may be written in groups, and words may follow them."""
    from stdnum import iban

    spans: list[HiddenSpan] = []
    for match in _IBAN.finditer(text):
        groups = match[0].split(" ")
        for count in range(len(groups), 0, -1):
            number = " ".join(groups[:count])
            if iban.is_valid(number):
                spans.append((match.start(), match.start() + len(number), "iban"))
                break
    return spans


def _phones(text: str) -> list[HiddenSpan]:
    if sum(sign.isdigit() for sign in text) < 7:
        return []
    from phonenumbers import Leniency, PhoneNumberMatcher

    return [
        (match.start, match.end, "phone")
        for region in _REGIONS
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID)
        if not _DATE.fullmatch(match.raw_string)
    ]


def _named(text: str) -> list[HiddenSpan]:
    """Numbers that a Chinese text names, and number plates."""
    spans = [(*match.span(1), "id") for match in _NAMED_ZH.finditer(text)]
    return spans + [(*match.span(), "plate") for match in _PLATE.finditer(text)]


def _long_numbers(text: str) -> list[HiddenSpan]:
    return [
        (*match.span(), "number")
        for match in _NUMBER.finditer(text)
        if sum(sign.isdigit() for sign in match[0]) >= _MANY_DIGITS and not _DATE.search(match[0])
    ]
