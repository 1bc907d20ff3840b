"""What test modules of several folders share; `tests/conftest.py` puts the folder above on the path."""
