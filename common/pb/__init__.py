"""Code generated from proto/goliath/v1 by scripts/gen_proto; do not edit."""
