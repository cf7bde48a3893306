"""The prompts room: templates, tokenizer, packing, the packed store and its rows."""
