"""Searches with stub training on real Ray, while everything that can die does: ``make chaos``."""
