"""The one client of OpenAI-compatible endpoints: limits, retries, cost, answers kept before use."""

from flywheel.llm.client import BudgetSpent, Client, EndpointUnusable, Reply, RequestFailed

__all__ = ["BudgetSpent", "Client", "EndpointUnusable", "Reply", "RequestFailed"]
