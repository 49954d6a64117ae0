"""The commands of `david`, one file each."""
