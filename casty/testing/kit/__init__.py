"""The kit for one behaviour: it runs message by message, and what it does becomes values."""
