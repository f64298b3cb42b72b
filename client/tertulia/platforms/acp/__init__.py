"""The platform `acp`: conversations with agent programs on this machine, over the Agent Client Protocol."""
