"""What users write: signatures and the canvases made of them."""
