"""Measures of detectors, as fractions from 0 to 1."""
