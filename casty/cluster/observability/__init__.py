"""What a node tells about itself: its figures, and status reports."""
