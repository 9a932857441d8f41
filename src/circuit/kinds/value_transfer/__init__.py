"""A linear map from where the value is written to where it is answered, and what it rescues."""
