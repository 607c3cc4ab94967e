"""Decides what to try next, where it runs, and what is remembered."""
