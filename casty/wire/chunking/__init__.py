"""Large messages: cut into chunks, and packed around texts and bytes left in their places."""
