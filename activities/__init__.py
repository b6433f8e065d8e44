"""What the shipped flows do to the outside world: models, vectors, documents, payments.

Plain library code, called from steps. Nothing here knows of workflows, runs or events.
"""
