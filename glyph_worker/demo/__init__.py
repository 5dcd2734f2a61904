"""The demo: two documents, questions with known answers, and the run that asks them."""
