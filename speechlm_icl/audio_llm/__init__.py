"""Ready audio LLMs as in-context methods: the enrolled clips and their labels are turns of a chat."""
