"""route_competition: being written."""
