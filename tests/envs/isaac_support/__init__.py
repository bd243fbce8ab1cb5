"""What builds the simulators of the tests of `--env.type=isaac`."""
