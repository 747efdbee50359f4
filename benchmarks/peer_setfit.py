"""SetFit's documented recipe on given rows; run by an interpreter that has `setfit` installed.

    python peer_setfit.py ROWS.json

ROWS.json holds train and test (lists of text and label), model and seed. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main() -> None:
    """Train with 20 iterations in batches of 16 for one epoch, as its documentation does."""
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    texts, labels = zip(*told["train"], strict=True)
    names = sorted(set(labels))
    rows = Dataset.from_dict({"text": list(texts), "label": [names.index(n) for n in labels]})
    began = time.process_time()
    model = SetFitModel.from_pretrained(told["model"])
    settings = TrainingArguments(
        batch_size=16, num_iterations=20, num_epochs=1, seed=told["seed"], report_to="none"
    )
    trainer = Trainer(model=model, args=settings, train_dataset=rows)
    trainer.train()
    spent = time.process_time() - began
    said = model.predict([text for text, _ in told["test"]])
    right = [names[int(a)] == label for a, (_, label) in zip(said, told["test"], strict=True)]
    print(json.dumps({"accuracy": 100 * sum(right) / len(right), "cpu_s": spent}))


if __name__ == "__main__":
    main()
