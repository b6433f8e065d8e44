"""Serve the flows of `workflows/`: `python worker.py`; see `python worker.py --help`."""

from everstep.cli import worker

if __name__ == "__main__":
    worker()
