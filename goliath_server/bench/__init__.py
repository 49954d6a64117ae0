"""`goliath bench`: what the wire costs, in bytes and in time, between programs of their own."""
