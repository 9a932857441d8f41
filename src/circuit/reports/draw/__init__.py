"""Drawing the shapes of views."""
