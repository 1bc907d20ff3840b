"""What a program that uses casty needs to test itself, and what casty tests itself with."""
