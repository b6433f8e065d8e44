"""everstep on Temporal: interpreter, step activities, client, worker, plugin, dev server."""
