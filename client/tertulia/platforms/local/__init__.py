"""The embedded platform: conversations that live in our own store, and the agents who answer there."""
