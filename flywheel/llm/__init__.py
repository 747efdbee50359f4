"""The one client of OpenAI-compatible endpoints: limits, retries, cost, answers kept before use."""

from flywheel.llm.client import BudgetSpent, Client, Reply, RequestFailed
from flywheel.llm.endpoint import EndpointUnusable

__all__ = ["BudgetSpent", "Client", "EndpointUnusable", "Reply", "RequestFailed"]
