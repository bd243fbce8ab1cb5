"""Many episodes: planned, run by workers on one machine or a cluster, counted, compared and put together."""
