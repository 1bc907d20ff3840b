"""Discovery of services: the driver of the receptionist, its protocol, and group routers."""
