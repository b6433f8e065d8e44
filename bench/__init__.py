"""Measures everstep against the same work hand-written on the Temporal SDK, and how its cost grows. Not part of CI."""
