"""The commands of `goliath`, one file each."""
