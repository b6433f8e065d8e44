"""The deterministic core: inputs go in, commands come out.

Rule of this package: standard-library data tools and `flow.definition` only. No clock, randomness, I/O, asyncio or
user types; times (epoch seconds), ids and payloads come in with the inputs.
"""
