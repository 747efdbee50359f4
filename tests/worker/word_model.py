"""A second kind of model, as small as one can be: an intent scores by the words its rows share."""

import hashlib
import json
from dataclasses import replace

import torch

from flywheel.errors import FlywheelError
from flywheel.worker.models import ModelKind
from flywheel.worker.models.protocol import Calls, Chosen

KIND = "words"
BASE = {"model_type": "words", "hidden_size": 64, "num_hidden_layers": 1}


class WordModel:
    """Opened on a base; nothing of the base is used."""

    def __init__(self, base, settings):
        self.base, self.settings = base, settings
        self.prepared = []

    def limited(self, recipe):
        return replace(recipe, layers=1)

    def prepare(self, texts, recipe, report):
        self.prepared = list(texts)
        report(1.0)

    def fit(self, request, report):
        assert set(request.train.texts) <= set(self.prepared)
        return WordFit(self, request)

    def load(self, folder):
        facts = json.loads((folder / "flywheel.json").read_text("utf-8"))
        if facts["base_sha256"] != self.base.sha256:
            raise FlywheelError("another base")
        return TrainedWords(self, facts["words"])

    def embed(self, texts, report):
        rows = torch.zeros(len(texts), 64)
        for row, text in enumerate(texts):
            for word in text.split():
                rows[row, int(hashlib.sha256(word.encode()).hexdigest(), 16) % 64] += 1
        return torch.nn.functional.normalize(rows, dim=1)


class TrainedWords:
    """The words of each intent."""

    threshold = 0.0

    def __init__(self, model, words):
        self.model, self.words = model, words

    @property
    def content_id(self):
        return "a-" + hashlib.sha256(json.dumps(self.words).encode()).hexdigest()[:12]

    def scores(self, texts):
        shared = [
            [len(set(text.split()) & set(words)) for words in self.words.values()] for text in texts
        ]
        return torch.tensor(shared, dtype=torch.float32).view(len(texts), len(self.words))

    def answer(self, texts, report):
        confidence, best = self.scores(texts).softmax(1).max(1)
        names = list(self.words)
        return Calls([names[n] for n in best.tolist()], [{}] * len(texts), confidence)

    def answerer(self, engine="torch", threads=1):
        return lambda texts: self.answer(texts, None)

    def save(self, folder, facts, graph=False):
        folder.mkdir()
        own = {"kind": KIND, "base": self.model.base.name, "max_length": 32, "words": self.words}
        own |= {"id": self.content_id, "base_sha256": self.model.base.sha256}
        (folder / "flywheel.json").write_text(json.dumps({**own, **facts}), "utf-8")
        return self.content_id


class WordFit:
    """One training."""

    epoch = 1

    def __init__(self, model, request):
        words = {label: set() for label in request.labels}
        for text, intent in zip(request.train.texts, request.train.intents, strict=True):
            words[intent] |= set(text.split())
        self.request = request
        self.trained = TrainedWords(model, {name: sorted(words[name]) for name in words})
        self.curve = [{"epoch": 1, "loss": 0.5, "dev_accuracy": 0.5}]

    def scores(self, texts):
        return self.trained.scores(texts)

    def choose(self):
        dev = self.trained.answer(self.request.dev.texts, None)
        return Chosen(self.trained, dev, {"head": "words"})

    def refit(self, train, checkpoint, report):
        request = replace(self.request, train=train, checkpoint=checkpoint)
        return WordFit(self.trained.model, request).trained


ROW = ModelKind(KIND, lambda base: base.config["model_type"] == "words", WordModel)
