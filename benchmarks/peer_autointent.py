"""AutoIntent's documented recipe on given rows; run by an interpreter that has `autointent`.

    python peer_autointent.py ROWS.json

The interpreter needs the extra `sentence-transformers` too. ROWS.json holds train and test (lists
of text and label), model and seed. The last line it prints is one JSON object; CPU seconds are
those of fitting, not of the test.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from autointent import Dataset, Pipeline
from autointent.configs import LoggingConfig, SentenceTransformerEmbeddingConfig

PRESET = "classic-light"


def main() -> None:
    """Search the preset over the base's embeddings, refit on all rows, and answer the test."""
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    names = sorted({label for _, label in told["train"]})
    rows = [{"utterance": text, "label": names.index(label)} for text, label in told["train"]]
    intents = [{"id": number, "name": name} for number, name in enumerate(names)]
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        pipeline = Pipeline.from_preset(PRESET, seed=told["seed"] + 1)
        pipeline.set_config(SentenceTransformerEmbeddingConfig(model_name=told["model"]))
        pipeline.set_config(LoggingConfig(project_dir=Path(place), dump_modules=False))
        pipeline.fit(Dataset.from_dict({"train": rows, "intents": intents}), refit_after=True)
        spent = time.process_time() - began
        said = pipeline.predict([text for text, _ in told["test"]])
    right = [
        answer is not None and names[int(answer)] == label
        for answer, (_, label) in zip(said, told["test"], strict=True)
    ]
    accuracy = 100 * sum(right) / len(right)
    versions = {name: version(name) for name in ("autointent", "sentence-transformers", "torch")}
    print(
        json.dumps({"accuracy": accuracy, "cpu_s": round(spent, 1), "preset": PRESET, **versions})
    )


if __name__ == "__main__":
    main()
