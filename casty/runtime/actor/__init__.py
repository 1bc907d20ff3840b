"""One actor from spawn to end: its cell, its context, its children, its failures."""
