"""A tiny checkpoint with OpenVLA's surface, and the Python that can load it."""
