"""The way out joined with the way back: canvases sent, held, frozen, run in place."""
