"""The search algorithms: deterministic state machines without Ray, torch, files or clocks."""
