"""What stands between policy and environment: executors, filters, guard, prompt."""
