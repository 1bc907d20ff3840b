"""Service discovery: who offers a service, and who wants to know."""
