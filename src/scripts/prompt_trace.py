"""prompt_trace: being written."""
