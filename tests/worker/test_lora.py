"""LoRA in few passes computes what `peft` computes."""

import copy

import peft
import pytest
import torch
from torch import nn

from flywheel.worker.models.encoder import lora


class _Two(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8, bias=bias)
        self.second = nn.Linear(8, 5, bias=bias)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def _adapted(*, bias):
    torch.manual_seed(0)
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["first", "second"])
    model = peft.get_peft_model(_Two(bias=bias).double(), config, autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = torch.randn_like(parameter)
    return model


def _answer_and_gradients(model, x):
    answer = model(x)
    trained = [p for p in model.parameters() if p.requires_grad]
    wanted = [*trained, x] if x.requires_grad else trained
    return [answer, *torch.autograd.grad(answer.square().sum(), wanted)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_answers_and_gradients_are_those_of_peft(bias, shape, needs_gradient):
    plain = _adapted(bias=bias)
    quick = copy.deepcopy(plain)
    lora.quicken(quick)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=needs_gradient)
    for ours, theirs in zip(
        _answer_and_gradients(quick, x), _answer_and_gradients(plain, x), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_frozen_weights_are_given_no_gradient():
    model = _adapted(bias=True)
    lora.quicken(model)
    model(torch.randn(4, 6, dtype=torch.float64)).sum().backward()
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)
