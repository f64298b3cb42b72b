"""`agentflow`: conversations with the agents of an AgentFlow deployment, as far as its vendor documents them (2026-01).

The vendor publishes neither SDK nor OpenAPI file; the package `agentflow` on PyPI is somebody else's, and never used.
"""
