"""The wire between policies and those who ask them: openpi's protocol, and the client's end of it."""
