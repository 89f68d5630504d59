"""Classification by a few labelled pictures of each label."""
