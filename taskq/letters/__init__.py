"""Dead letters: what is written in one, and how it is chosen, moved back and accounted for."""
