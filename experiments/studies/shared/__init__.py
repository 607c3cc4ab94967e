"""What several studies have in common: searches, tables of jobs, and how these are compared."""
