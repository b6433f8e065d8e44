"""Start runs of flows, see how they go on, and answer what they ask: `python starter.py --help`."""

from everstep.cli import starter

if __name__ == "__main__":
    starter()
