"""Bytes in, values out: frames, the hello, envelopes, and the codec of messages."""
