"""A run while it goes by: what can be seen of it at a moment, on a terminal, in a log, and from elsewhere.

`telling` makes snapshots of what the driver tells; `screen` shows them; `publishing` puts them into the run's folder,
and `watching` reads them there.
"""
