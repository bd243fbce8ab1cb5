"""Take Two: run robot policies over many episodes, record them, and give them a second take."""

__version__ = "0.1.0"
