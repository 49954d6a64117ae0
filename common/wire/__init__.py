"""The wire: frames, their checks and conversions; the only room with protobuf."""
