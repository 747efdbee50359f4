"""The client of OpenAI-compatible endpoints: rate limits, retries, budget, cached answers."""

from flywheel.llm.client import BudgetSpent, Client, EndpointUnusable, Reply, RequestFailed

__all__ = ["BudgetSpent", "Client", "EndpointUnusable", "Reply", "RequestFailed"]
