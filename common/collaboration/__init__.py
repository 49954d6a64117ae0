"""How contributions are made, fused and carried."""
