"""Teachers: frozen models that say what they see in the student's training pictures."""
