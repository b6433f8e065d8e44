"""Event-driven workflows with the Event/Step API, run durably on Temporal."""
