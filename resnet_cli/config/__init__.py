"""What each command can be told: one pydantic model per command, whose fields are its flags and YAML keys."""
