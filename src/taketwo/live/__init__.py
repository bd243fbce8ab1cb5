"""A running session on a page: what it shows, and the commands that it takes."""
