"""What annotations alone say: how far listeners agree, and how much can be learned of each of them."""
