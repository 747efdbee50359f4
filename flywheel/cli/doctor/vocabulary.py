"""What the base's vocabulary makes of texts, and which base would read them better.

Two things make a base read badly: letters that no piece of its vocabulary has, and words that fall
into many pieces. Both are counted by script, over the texts of samples and the letters of recent
predictions, so that they are told with a daemon and without one.
"""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flywheel.cli.doctor.environment import Finding, ok, skip, warn
from flywheel.cli.text import share
from flywheel.scripts import of_letter

if TYPE_CHECKING:
    from flywheel.config import Config

_KNOWN_SHARE = 0.98  # of the characters of a script, by how often they occur
_SPLIT_SHARE = 0.30  # of words; the bundled base splits .03 to .07 in English, .4 to .7 in others
_FEW_WORDS = 100
_SHOWN = 8
_READ = 2_000  # texts that are cut into tokens
_MANY_LANGUAGES = "multilingual-e5-small"


def scripts(
    config: Config, folder: Path, texts: Sequence[str], *, spoken: bool = True
) -> Iterator[Finding]:
    """Whether the base's vocabulary knows the letters of the texts, and their words.

    Args:
        config: names the base.
        folder: of the base.
        texts: of samples and intents, or runs of one letter that occurred as often.
        spoken: some of them are of people, not of the intents' descriptions alone.
    """
    told = list(_told(config.model.base, folder / "tokenizer.json", texts))
    if spoken or any(each.level != "ok" for each in told):
        yield from told
    else:
        yield skip("script", "not looked at: there are no texts of people yet, only intents")


def _told(name: str, path: Path, texts: Sequence[str]) -> Iterator[Finding]:
    """Compare letters with the vocabulary, script by script, then count split words."""
    written = json.loads(path.read_text(encoding="utf-8"))
    known = vocabulary(written)
    read = _read(path, written, texts)
    letters = _letters(texts)
    if known is None or not letters:
        reads = "any script" if known is None else "the texts' script"
        yield ok("script", f"the vocabulary of {name} knows {reads}")
    for each, seen in sorted(letters.items()) if known is not None else ():
        yield _known(name, each, seen, known or set(), read.get(each), texts)
    for each, count in sorted(read.items()):
        if (
            count.words >= _FEW_WORDS
            and count.split > _SPLIT_SHARE * count.words
            and (better := recommended(name, texts))
        ):
            yield warn(
                "words",
                f"{each}: {name} splits {share(count.split / count.words)} of the words into "
                "pieces, as it does with languages that it does not know",
                f"if they are not English: {better}",
            )


def _letters(texts: Iterable[str]) -> dict[str, dict[str, int]]:
    """How often each letter beyond ASCII occurs, by script."""
    used: dict[str, dict[str, int]] = {}
    for text in texts:
        for letter in normal(text):
            if not letter.isascii() and letter.isalpha():
                letters = used.setdefault(script(letter), {})
                letters[letter] = letters.get(letter, 0) + 1
    return used


def _known(
    name: str,
    each: str,
    letters: Mapping[str, int],
    known: set[str],
    read: _Read | None,
    texts: Sequence[str],
) -> Finding:
    missing = [letter for letter in letters if letter not in known]
    knows = len(letters) - len(missing)
    text = f"{each}: {knows} of the {len(letters)} characters in use are known"
    if 1 - sum(letters[letter] for letter in missing) / sum(letters.values()) >= _KNOWN_SHARE:
        return ok("script", text)
    has = sum(script(letter) == each for letter in known if letter.isalpha())
    seen = "".join(missing[:_SHOWN]) + ("…" if len(missing) > _SHOWN else "")
    text += f" ({has} in the whole vocabulary); not known: {seen}"
    if read is not None and read.tokens:
        text += f"; {share(read.unknown / read.tokens)} of their tokens are unknown"
    todo = "set [model] base to one that knows them, by its Hugging Face id or folder"
    return warn("script", text, recommended(name, texts) or todo)


def recommended(name: str, texts: Iterable[str]) -> str:
    """How to come by the base of the catalogue that reads the texts; "" where it is in use.

    >>> recommended("bundled:all-minilm-l6-v2", ["我要听音乐"]).splitlines()
    ['flywheel base fetch multilingual-e5-small-han-latin, then [model] base = that name']
    >>> recommended("multilingual-e5-small", ["我要听音乐"])
    ''
    """
    from flywheel.bases import catalogue, unicode_scripts

    used = catalogue.chosen(name)
    scripts = set(unicode_scripts.needed(texts))
    if used is not None and used.base.name == _MANY_LANGUAGES:
        if not used.scripts or scripts <= set(used.scripts):
            return ""
        scripts |= set(used.scripts)
    better = catalogue.named(_MANY_LANGUAGES, scripts).name
    return f"flywheel base fetch {better}, then [model] base = that name"


@dataclass(slots=True)
class _Read:
    """How texts of one script are cut."""

    tokens: int = 0
    unknown: int = 0  # tokens that stand for what the vocabulary has not
    words: int = 0
    split: int = 0  # words of two pieces or more


def _read(path: Path, written: Mapping[str, Any], texts: Iterable[str]) -> dict[str, _Read]:
    """Counts by script of the first letter of each word; empty where it cannot be read."""
    from tokenizers import Tokenizer

    whole = [text for text in texts if len(set(text)) > 1][:_READ]
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001  the library raises no narrower one; the worker tells of it
        return {}
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = written.get("model") or {}
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token"):
        unknown = tokenizer.token_to_id(model["unk_token"])
    found: dict[str, _Read] = defaultdict(_Read)
    for text, encoding in zip(
        whole, tokenizer.encode_batch(whole, add_special_tokens=False), strict=True
    ):
        pieces: dict[int, list[int]] = defaultdict(list)
        for number, word in enumerate(encoding.word_ids):
            if word is not None:
                pieces[word].append(number)
        for numbers in pieces.values():
            start, end = encoding.offsets[numbers[0]][0], encoding.offsets[numbers[-1]][1]
            letter = next((sign for sign in text[start:end] if sign.isalpha()), "")
            if letter:
                count = found[script(letter)]
                count.tokens += len(numbers)
                count.unknown += sum(encoding.ids[number] == unknown for number in numbers)
                count.words += 1
                count.split += len(numbers) > 1
    return found


def vocabulary(tokenizer: Mapping[str, Any]) -> set[str] | None:
    """Every character in a token of tokenizer.json; None when it falls back to bytes."""
    model: Mapping[str, Any] = tokenizer.get("model") or {}
    layers = json.dumps([tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")])
    if "ByteLevel" in layers or model.get("byte_fallback"):
        return None
    vocab = model.get("vocab") or {}
    tokens = vocab if isinstance(vocab, Mapping) else [entry[0] for entry in vocab]
    return {character for token in tokens for character in token}


def normal(text: str) -> str:
    """Lower case and without accents, as uncased vocabularies see a text."""
    plain = unicodedata.normalize("NFD", text.lower())
    return "".join(each for each in plain if unicodedata.category(each) != "Mn")


def script(letter: str) -> str:
    """The script of a letter, as a person calls it."""
    name = of_letter(letter)
    return "Chinese" if name == "han" else name.capitalize()
