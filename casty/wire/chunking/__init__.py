"""Large messages: cut into chunks, and packed around texts and bytes that stay where they lie."""
