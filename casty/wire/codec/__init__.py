"""The codec: from type forms to converters, from messages to frames, and back."""
