"""Speech at the gateway: ears, mouths, and who has the floor."""
