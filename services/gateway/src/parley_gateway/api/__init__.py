"""HTTP surfaces of the gateway: each module exports `routes()` for the application to mount."""
