"""Decides what to try next, where it runs, and what is remembered."""

import os

# Ray reads these when it is imported, so they are set before any module of ours can do that. A cluster that we are told
# to join has its own settings; the one that we start asks for a token, which Ray makes for this user.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
