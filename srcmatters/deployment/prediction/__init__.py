"""From files to answers: what they are, whether the rules let them in, and what the network says."""
