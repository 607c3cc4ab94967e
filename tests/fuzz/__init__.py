"""Hostile input: whatever a file holds, the answer is a value or a short error, soon, and nothing else happens."""
