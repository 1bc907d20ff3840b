"""Service discovery: offers of services, and subscriptions to them."""
