"""`a2a`: conversations with an agent that speaks A2A (Agent2Agent) 1.0 or 0.3 over JSON-RPC, found by its card."""
