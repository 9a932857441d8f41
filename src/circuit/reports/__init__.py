"""What people read: figures, documents and the page of a study. Nothing here imports torch."""
