"""`threads`: the example of `docs/adding-a-platform.md`, for a wire like that of LangGraph's server."""
