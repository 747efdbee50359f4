"""What a sample of the teacher costs by the configured prices, before anything was bought."""

from __future__ import annotations

from flywheel.records import Brief
from flywheel.teacher import names, prompts, questions
from flywheel.turn.wheel import Wheel

_BYTES_PER_TOKEN = 3.0  # on the dear side for English
_WRITTEN = 40  # tokens of one written sample
_PROMPT = 1200  # tokens of a usual request: the rules, ten failed texts, two intents
_LABEL = 30  # tokens out for a sample in the label-free question
_SENTENCE = "wake me at seven tomorrow please"  # as long as what is usually asked about


def of_brief(wheel: Wheel, brief: Brief) -> tuple[tuple[prompts.Request, ...], float]:
    """Return a brief's requests as they would leave the machine, and their price in US dollars."""
    teacher, synthesis = wheel.config.teacher, wheel.config.synthesis
    people = names.finder(teacher.names_model) if teacher.redact else None
    requests = prompts.requests(brief, synthesis.per_request, redact=teacher.redact, names=people)
    return requests, _price(wheel, sum(map(_tokens, requests)), brief.ask)


def of_sample(wheel: Wheel) -> float:
    """Return the usual price of one sample in US dollars; 0 where no prices are configured."""
    return _price(wheel, _PROMPT / max(1, wheel.config.synthesis.per_request), 1)


def _price(wheel: Wheel, sent: float, samples: int) -> float:
    """Of prompts of so many tokens and the samples that they ask for, the second question too."""
    teacher = wheel.config.teacher
    received = float(_WRITTEN)
    if wheel.config.synthesis.verify:
        texts = [_SENTENCE] * questions.TOGETHER
        sent += samples * _tokens(questions.question(texts, wheel.intents)) / questions.TOGETHER
        received += _LABEL
    dear = sent * teacher.usd_per_million_input
    return (dear + received * samples * teacher.usd_per_million_output) / 1e6


def _tokens(request: prompts.Request) -> float:
    return sum(len(str(each["content"]).encode()) for each in request.messages) / _BYTES_PER_TOKEN
