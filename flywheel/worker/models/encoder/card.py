"""The model card of an adapter: what it is, the rule by which it answers, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.worker.models.encoder.adapter import EncoderAdapter

_SCORES = {
    "energy": "the logsumexp of the logits of all labels but `none`",
    "confidence": "the largest softmax among all labels but `none`",
    "margin": "the largest logit but that of `none`, minus that of `none`",
    "both": "twice the largest logit but that of `none`, minus that of `none`",
    "always": "1: every text is in scope",
}


_POOLED = {
    "mean": "the mean of the last states of all real tokens",
    "cls": "the last state of the first token",
    "max": "the largest value of each column among the last states of all real tokens",
    "lasttoken": "the last state of the last real token",
}


def card(name: str, adapter: EncoderAdapter, hub_name: str, facts: Mapping[str, Any]) -> str:
    """The card in Markdown.

    Args:
        hub_name: of the base, as `transformers` understands it.
        facts: recipe, dataset, parent, metrics, code_version.
    """
    metrics = facts.get("metrics", {})
    rows = "\n".join(
        f"| {key} | {metrics[key]} |"
        for key in sorted(metrics)
        if not isinstance(metrics[key], (list, dict))
    )
    return f"""---
base_model: {hub_name}
library_name: peft
tags: [lora, intent-classification]
---
# {name}

A LoRA adapter on `{hub_name}` that turns a text into one of {len(adapter.labels)} intents,
trained by flywheel {facts.get("code_version", "")} with the recipe `{facts.get("recipe", "")}`
on the dataset `{facts.get("dataset", "")}` (parent: {facts.get("parent") or "none"}).

## The rule

{_rule(adapter)}

`test_vector.jsonl` holds texts with the answers of the evaluated model. A program that gives them,
with confidences within 0.001, follows the rule.

| measured on dev | |
| --- | --- |
{rows}
"""


def _rule(adapter: EncoderAdapter) -> str:
    """How a text becomes an answer: what a program must do to give the same."""
    scope = adapter.scope
    return f"""1. Tokens: by the base's `tokenizer.json`, special tokens included, without a prefix,
   cut at {adapter.max_length} tokens. Its sha256: {adapter.tokenizer_sha256 or "not recorded"}.
2. Weights: LoRA (rank {adapter.rank}, alpha {adapter.alpha}) on layers from {adapter.depth} up,
   counted from 0, merged as W + alpha / rank · B A; all in float32.{_rounding(adapter)}
3. Embedding: {_POOLED[adapter.pooling]}, scaled to length one.
4. Logits: `intents.weight` · embedding + `intents.bias` of `heads.safetensors`, in the order of
   `labels` in `flywheel.json`. Temperature and calibration are in these weights already.
5. Scope: by the score `{scope.score}` and the threshold {scope.threshold!r}. The score is
   {_SCORES[scope.score]}.
   Below the threshold the answer is `none`, its confidence 1 - p; else it is the highest label
   but `none`, its confidence p. p is that label's softmax over all labels.
6. Arguments: {_arguments(adapter)}"""


def _rounding(adapter: EncoderAdapter) -> str:
    if not adapter.rounded_below:
        return ""
    return f"""
   Answers were evaluated with the input of layer {adapter.rounded_below} rounded to float16;
   without the rounding, confidences differ by up to 0.001."""


def _arguments(adapter: EncoderAdapter) -> str:
    if adapter.tag_head is None:
        return "none were learned."
    return f"""the text has a part for each match of the pattern `segments` in `flywheel.json`
   (Python's `regex`). The last state of the token in which the part begins goes through the first
   columns of `tags.weight` and `tags.bias`. Where several parts begin in one token and
   `tags.weight` is three states wide, the state times the second third is added for those between
   the first and the last of them, times the last third for the last. Then log-softmax over all
   tags, and the largest among 0 and those of the answered intent's arguments. 0 is outside,
   1 + 2i begins argument i, 2 + 2i goes on with it; argument i
   counts from 0 in {", ".join(f"`{name}`" for name in adapter.slots)}.
   The value is the text of the span as said; of two spans of one argument, the surer on average."""
