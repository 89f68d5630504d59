"""Labels and captions in, the texts that training draws for its pictures out."""
