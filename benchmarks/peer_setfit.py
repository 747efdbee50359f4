"""SetFit's documented recipe on given rows; run by an interpreter that has `setfit` installed.

    python peer_setfit.py ROWS.json

ROWS.json holds train and test (lists of text and label), model, seed, and where the run is to be
cut short the number of steps. The last line it prints is one JSON object; CPU seconds are those of
loading and training, not of the test.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
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
    with tempfile.TemporaryDirectory() as place:
        settings = TrainingArguments(
            output_dir=place,
            batch_size=16,
            num_iterations=20,
            num_epochs=1,
            max_steps=told.get("steps", -1),
            seed=told["seed"],
            report_to="none",
        )
        trainer = Trainer(model=model, args=settings, train_dataset=rows)
        trainer.train()
    spent = time.process_time() - began
    said = model.predict([text for text, _ in told["test"]])
    right = [names[int(a)] == label for a, (_, label) in zip(said, told["test"], strict=True)]
    steps = trainer.st_trainer.state.global_step
    accuracy = 100 * sum(right) / len(right)
    versions = {name: version(name) for name in ("setfit", "torch", "transformers")}
    print(json.dumps({"accuracy": accuracy, "cpu_s": round(spent, 1), "steps": steps, **versions}))


if __name__ == "__main__":
    main()
