"""The wire between policies and those who ask them: message formats, and the client's end of each protocol."""
