"""The options of each command: one pydantic model per command, whose fields are its flags and YAML keys."""
