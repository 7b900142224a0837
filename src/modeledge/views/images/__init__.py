"""What part of a picture is shown: cuts and mirror images, on uint8. Not here: normalisation (layers/pixels.py)."""
