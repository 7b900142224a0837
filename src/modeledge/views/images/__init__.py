"""What a picture looks like to the model: cuts and mirror images in numpy on uint8, normalisation in torch."""
