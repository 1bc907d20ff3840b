"""Kit for one behaviour: it runs message by message, and its actions become values."""
