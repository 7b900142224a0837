"""Views: numpy on a whole batch, in two steps: `corrupt` hides or moves, `arrange` lays out for an architecture."""
