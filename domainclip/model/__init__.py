"""The model: open_clip towers with projection heads, losses, and the model folder."""
