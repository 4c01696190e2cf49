"""The proximal solver: a person's head is the best one that stays close to the meta-learned head."""
