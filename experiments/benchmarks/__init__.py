"""What things cost beside what else could be used: ``python -m experiments.benchmarks [NAME...]``, a module each.

Invariant: whatever is compared takes turns in one run, and what counts is a ratio of turns that followed one another;
absolute times are of the machine at that moment. Nothing here is a test.
"""
