"""Workers train: one task in, metrics and weights out.

The rooms: `settings` (what a user writes), `task` (what a worker is asked and answers), `detection` and
`classification` (the two trainings), `data` (one interface over every format), `metrics`.

Invariant: the same task on the same data with the same number of ranks gives, on CPU, the same weights and
metrics to the last bit. Nothing here decides what to try next, and only `node` knows Ray.
"""
