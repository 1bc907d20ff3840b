"""A node's reports of itself: its figures, and status reports."""
