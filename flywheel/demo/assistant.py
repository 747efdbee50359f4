"""An application that uses the champion as it would use a model of OpenAI's: by their client."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
from openai import OpenAI
from openai.types.chat import ChatCompletionFunctionToolParam

from flywheel.config import load_intents
from flywheel.records import NONE

_KEY = "none"  # the client wants one; on a Unix socket its mode says who may ask
_MODEL = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantAnswer:
    """What the champion would call."""

    prediction: str  # id, which feedback names
    intent: str
    call: str  # as a person reads it: `set_alarm(time="seven")`
    adapter: str


class Assistant:
    """Asks over the server's Unix socket, with the list of functions of the starter set.

    Args:
        socket: of the server; with an address of TCP neither transport nor client would be named.
        intents: the file with the functions.
    """

    def __init__(self, socket: Path, intents: Path) -> None:
        transport = httpx2.HTTPTransport(uds=str(socket))
        self._client = OpenAI(
            base_url="http://flywheel/v1",
            api_key=_KEY,
            http_client=httpx2.Client(transport=transport),
        )
        self._tools = [
            ChatCompletionFunctionToolParam(
                type="function",
                function={
                    "name": intent.name,
                    "description": intent.description,
                    "parameters": dict(intent.parameters),
                },
            )
            for intent in load_intents(intents)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def ask(self, text: str) -> AssistantAnswer:
        """Ask for one text."""
        completion = self._client.chat.completions.create(
            model=_MODEL, messages=[{"role": "user", "content": text}], tools=self._tools
        )
        calls = completion.choices[0].message.tool_calls or []
        functions = [call.function for call in calls if call.type == "function"]
        intent, call = NONE, "no function"
        if functions:
            intent = functions[0].name
            arguments = json.loads(functions[0].arguments)
            values = ", ".join(
                f"{name}={json.dumps(v, ensure_ascii=False)}" for name, v in arguments.items()
            )
            call = f"{intent}({values})"
        return AssistantAnswer(
            prediction=completion.id, intent=intent, call=call, adapter=completion.model
        )
