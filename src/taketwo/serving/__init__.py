"""The policy server: openpi's protocol for any policy, many clients, one forward pass."""
