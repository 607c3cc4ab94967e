"""Runs in virtual time: the real driver, algorithm and journal over a fleet whose jobs take no time to do."""
