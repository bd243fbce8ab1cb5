"""The policy server: any policy, for openpi's clients, our own, and vla-eval's harness."""
